"""A small real pool, made once by every real stage, and a copy of it for each test to damage."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clip_assets import graph
from clip_assets.layout import Key
from clip_assets.partitions.ledger import add_sources
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Output
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.pools import write_settings
from clip_assets_tests.vectors import one_thread
from clip_assets_tests.websites import Site, website

__all__ = ["one_thread"]

ROWS = 7
"""Of each of the two sources, and one without a url; every image is there but the last."""

SHARD = 3
"""Samples of a shard, so that a partition has three."""


@dataclass
class Whole:
    """A pool of which everything is made.

    Args:
        root: of the pool.
        sources: folder of its csv files.
        site: serves its images.
    """

    root: Path
    sources: Path
    site: Site

    @property
    def pool(self) -> Pool:
        """The pool as a command that starts now sees it."""
        return graph.open_pool(str(self.root))

    def make(self) -> None:
        """Make everything that is not done."""
        for asset in graph.ASSETS.values():
            pool = self.pool
            for key in pool.keys(asset.axis):
                asset.make(pool, key)

    def outputs(self) -> list[tuple[str, Key, Output]]:
        """Every published file, with the asset and key that it is of."""
        pool = self.pool
        return [
            (name, key, output)
            for name, asset in pool.assets.items()
            for key in pool.keys(asset.axis)
            for output in pool.catalog.require(name, key).outputs
        ]

    def file(self, path: str) -> Path:
        return self.root / path


@pytest.fixture(scope="session")
def site_of_images() -> Iterator[Site]:
    with website() as site:
        picture = {f"/{n}.jpg": encoded(draw(n)) for n in range(2 * ROWS) if n % ROWS != ROWS - 1}
        site.files |= picture
        yield site


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, site_of_images: Site) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    whole = Whole(folder / "data", folder / "sources", site_of_images)
    for place in (whole.root, whole.sources):
        place.mkdir()
    for number in range(2):
        rows = range(ROWS * number, ROWS * (number + 1))
        lines = "".join(f"{site_of_images.url}/{row}.jpg,picture {row}\n" for row in rows)
        (whole.sources / f"{number}.csv").write_text(f"url,caption\n{lines},no url\n")
    settings = {
        "sources": {"rows_per_partition": ROWS + 1},
        "download": {"allow_hosts": ["127.0.0.1"], "samples_per_shard": SHARD, "retries": 0},
        "inference": {"model": "demo"},
        "subsets": {"release": {"sample": 1.0}},
        "subset_shards": {"no_filter": {"shard_size": 5, "seed": 0}},
        "hub": {"repository": "we/pairs"},
        "devices": "none",
    }
    write_settings(whole.root, settings)
    pool = graph.open_pool(str(whole.root), create=True)
    add_sources(pool.store, [str(whole.sources)], pool.settings.sources)
    whole.make()
    return whole


@pytest.fixture
def whole(made_once: Whole, tmp_path: Path) -> Whole:
    """A copy of the pool, of this test alone."""
    root = tmp_path / "data"
    shutil.copytree(made_once.root, root)
    return Whole(root, made_once.sources, made_once.site)
