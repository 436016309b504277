"""The command line, on a pool whose vectors are made up."""

import logging
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from click.testing import CliRunner, Result

from clip_assets import cli
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Indexed, one_thread, unit, unit_rows

__all__ = ["one_thread"]

DIM = 16
MODEL = ModelIdentity("model", None, "m" * 64, "bytes", DIM, "fp32")

Cli = Callable[..., Result]


class Numbered(Indexed):
    """A pool in which row n of a partition has the caption n."""

    def embed(self, number: int, rows: int, content: str = "") -> None:
        """Embed a partition; other ``content`` gives other vectors."""
        vectors = self.vectors_of(rows, number, content)
        named = [
            {"uid": f"{1000 * number + n:032x}", "url": f"http://h/{n}", "caption": str(n)}
            for n in range(rows)
        ]
        self.put(number, vectors, named, content=content, model=MODEL)

    def vectors_of(
        self, rows: int, number: int = 0, content: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of images, and of texts near them."""
        images = unit_rows(number + len(content), rows, DIM)
        return images, unit(images + unit_rows(number + 100, rows, DIM))


@pytest.fixture
def made(local_store: Store) -> Numbered:
    """An empty pool on a disk."""
    return Numbered(local_store)


@pytest.fixture
def run(made: Numbered, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Run a command on the pool."""
    for name in [name for name in os.environ if name.startswith("CLIP_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLIP_ASSETS_ROOT", made.store.base)

    def invoke(*words: object) -> Result:
        arguments = ["-q", *map(str, words)]
        return CliRunner().invoke(cli.main, arguments, catch_exceptions=False)

    logger = logging.getLogger("clip_assets")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield invoke
    logger.handlers[:], logger.level, logger.propagate = before
