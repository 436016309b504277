"""Pools of raw pairs, made by the real stage from csv files."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import Sources
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

Pair = tuple[str, str]


class Pool:
    """Partitions of (url, caption) rows."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.keys: list[PartitionKey] = []
        self.settings = Sources()

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    def add(self, rows: Sequence[Pair], *, raw: bool = True) -> PartitionKey:
        """A further partition, with ``raw_pairs`` done or not."""
        path = self.folder / f"{len(self.keys):05d}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("url", "caption"), *rows])
        (plan,) = add_sources(self.store, [str(path)], self.settings).plans
        self.keys.append(plan.partition)
        if raw:
            self.make_raw(plan.partition)
        return plan.partition

    def make_raw(self, partition: PartitionKey) -> None:
        raw_pairs(self.catalog, partition, self.settings)

    def earlier(self, partition: PartitionKey) -> list[PartitionKey]:
        return self.keys[: self.keys.index(partition)]

    def unique_rows(self, partition: PartitionKey) -> list[Pair]:
        with self.store.local(layout.unique(partition)) as file:
            table = pq.read_table(file, columns=["url", "caption"])
        return [(row["url"], row["caption"] or "") for row in table.to_pylist()]


@pytest.fixture
def new_pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Pool]:
    """``new_pool()``: an empty pool on a disk."""

    def make() -> Pool:
        folder = tmp_path_factory.mktemp("pool")
        return Pool(Store.open(str(folder / "store")), folder)

    return make


@pytest.fixture
def pool(store: Store, tmp_path: Path) -> Pool:
    """An empty pool, on a disk and on an object store."""
    return Pool(store, tmp_path)


@pytest.fixture
def local_pool(local_store: Store, tmp_path: Path) -> Pool:
    """An empty pool on a disk."""
    return Pool(local_store, tmp_path)
