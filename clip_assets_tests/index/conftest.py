"""A pool of random unit vectors, as the stages before the index would leave it."""

import zlib
from typing import Any

import pytest

from clip_assets import layout
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.index import index_recipe, trials
from clip_assets.layout import Key
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Indexed, one_thread, unit, unit_rows

__all__ = ["one_thread"]

DIM = 16
"""Of the vectors, if a test says nothing else."""


def model(name: str) -> ModelIdentity:
    """A model that is nothing but its name."""
    return ModelIdentity(f"model-{name}", None, name * 64, "bytes", DIM, "fp32")


OWN = model("m")
"""The model of the pool, if a test says nothing else."""


def directions(name: str, rows: int, dim: int) -> Any:
    """Random vectors, the same for the same name."""
    return unit_rows(zlib.crc32(name.encode()), rows, dim)


class RandomVectors(Indexed):
    """A pool of random vectors."""

    def embed(
        self,
        number: int,
        rows: int,
        *,
        content: str = "",
        model: ModelIdentity = OWN,
        dim: int = DIM,
    ) -> Key:
        """Embed a partition; other ``content`` gives other vectors."""
        name = f"{layout.partition_key(number)} {content}"
        images, texts = self.drawn(name, rows, dim)
        named = self.rows(layout.partition_key(number), rows, content)
        return self.put(number, (images, texts), named, content=content, model=model)

    @staticmethod
    def drawn(name: str, rows: int, dim: int) -> tuple[Any, Any]:
        """Vectors of images and of their captions."""
        images = directions(f"{name} image", rows, dim)
        return images, unit(images + 0.3 * directions(f"{name} text", rows, dim))

    @staticmethod
    def rows(key: Key, rows: int, content: str = "") -> list[dict[str, Any]]:
        """What the vectors of a partition are of."""
        sizes = ("width", "height", "original_width", "original_height")
        return [
            {
                "uid": f"{zlib.crc32(name.encode()):032x}",
                "url": f"http://h/{name}.jpg",
                "caption": name,
                "sha256": "0" * 64,
                "similarity": 0.5,
            }
            | dict.fromkeys(sizes, row)
            for row in range(rows)
            for name in [f"{key}{content}-{row}"]
        ]

    def forget(self, key: Key) -> None:
        """From now on the pool has no such partition."""
        self.store.delete(layout.plan(key))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is not chosen by trial, and recall measured with few queries: each takes long."""
    monkeypatch.setattr(trials, "LEAST_VECTORS", 10**9)
    monkeypatch.setattr(index_recipe, "QUERIES", 400)


@pytest.fixture
def made(local_store: Store) -> RandomVectors:
    """An empty pool on a disk."""
    return RandomVectors(local_store)


@pytest.fixture
def made_anywhere(store: Store) -> RandomVectors:
    """An empty pool, on a disk and on an object store."""
    return RandomVectors(store)
