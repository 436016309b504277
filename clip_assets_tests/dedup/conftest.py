"""Pools of raw pairs, made by the real stage from csv files."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

Pair = tuple[str, str]


class MadePairs(MadeUp):
    """Partitions of (url, caption) rows."""

    def __init__(self, store: Store, folder: Path, **settings: Any) -> None:
        super().__init__(store, **settings)
        self.folder = folder

    @property
    def keys(self) -> list[Key]:
        """Of every partition, in order."""
        return self.pool.partitions

    def add(self, rows: Sequence[Pair], *, raw: bool = True) -> Key:
        """A further partition, with ``raw_pairs`` done or not."""
        path = self.folder / f"{len(self.keys):05d}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("url", "caption"), *rows])
        (plan,) = add_sources(self.store, [str(path)], self.settings.sources).plans
        if raw:
            raw_pairs(self.pool, plan.partition)
        return plan.partition

    def unique_rows(self, partition: Key) -> list[Pair]:
        """What ``unique_pairs`` kept of a partition."""
        made = self.pool.catalog.require(layout.UNIQUE_PAIRS, partition)
        with tables.local(self.store, made, layout.unique) as file:
            table = pq.read_table(file, columns=["url", "caption"])
        return [(row["url"], row["caption"] or "") for row in table.to_pylist()]


@pytest.fixture
def new_made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MadePairs]:
    """``new_made()``: an empty pool on a disk."""

    def make() -> MadePairs:
        folder = tmp_path_factory.mktemp("pool")
        return MadePairs(Store.open(str(folder / "store")), folder)

    return make


@pytest.fixture
def made(store: Store, tmp_path: Path) -> MadePairs:
    """An empty pool, on a disk and on an object store."""
    return MadePairs(store, tmp_path)


@pytest.fixture
def local_made(local_store: Store, tmp_path: Path) -> MadePairs:
    """An empty pool on a disk."""
    return MadePairs(local_store, tmp_path)
