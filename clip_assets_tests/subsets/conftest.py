"""A partition as the stages before pool metadata would leave it."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.layout import PartitionKey
from clip_assets.metadata.pool_metadata import pool_metadata
from clip_assets.pool.stages import Stage, StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store
from clip_assets.subsets.baselines import subset

RECENT = {"name": "demo", "pretrained": None, "digest": "d" * 64}


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair and what became of it."""

    caption: str | None = "a red circle on white"
    url: str = ""
    uid: str = ""
    status: str = "success"
    width: int | None = 640
    height: int | None = 480
    similarity: float | None = 0.3
    b32: float | None = None

    def named(self, number: int) -> "Pair":
        url = self.url or f"http://h/{number}.jpg"
        digest = hashlib.md5(f"{url}\x1f{self.caption}".encode()).hexdigest()
        return replace(self, url=url, uid=self.uid or digest)


def filled(schema: pa.Schema, columns: dict[str, list]) -> pa.Table:
    rows = len(next(iter(columns.values())))
    arrays = [pa.array(columns.get(field.name, [None] * rows), field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


class FakePool:
    """A store whose pairs, shards and embeddings are made up; everything after them is real."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.partitions: list[PartitionKey] = []

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    def add(
        self, number: int, pairs: list[Pair], *, per_shard: int = 3, model: dict | None = None
    ) -> PartitionKey:
        key = layout.partition_key(number)
        self.partitions = sorted({*self.partitions, key})
        named = [pair.named(place) for place, pair in enumerate(pairs)]
        self.pairs(key, named)
        self.shards(key, named, per_shard)
        self.embeddings(key, named, per_shard, model or RECENT)
        return key

    def pairs(self, key: PartitionKey, pairs: list[Pair]) -> None:
        columns = {
            "uid": [pair.uid for pair in pairs],
            "url": [pair.url for pair in pairs],
            "caption": [pair.caption for pair in pairs],
            "clip_b32_similarity_score": [pair.b32 for pair in pairs],
        }
        self._put(
            key, "unique_pairs", {layout.unique(key): filled(schemas.PAIRS, columns)}, len(pairs)
        )

    def shards(self, key: PartitionKey, pairs: list[Pair], per_shard: int) -> None:
        files = {}
        for start in range(0, len(pairs), per_shard):
            part = pairs[start : start + per_shard]
            columns = {
                "uid": [pair.uid for pair in part],
                "url": [pair.url for pair in part],
                "caption": [pair.caption for pair in part],
                "key": [f"{start + place:08d}" for place in range(len(part))],
                "status": [pair.status for pair in part],
                "error_class": [None if pair.status == "success" else "http_404" for pair in part],
                "original_width": [pair.width for pair in part],
                "original_height": [pair.height for pair in part],
                "attempts": [1] * len(part),
                "is_placeholder": [False] * len(part),
            }
            files[layout.shard_rows(key, start // per_shard)] = filled(schemas.SHARD_ROWS, columns)
        self._put(key, "image_shards", files, len(pairs))

    def embeddings(self, key: PartitionKey, pairs: list[Pair], per_shard: int, model: dict) -> None:
        good = [(place, pair) for place, pair in enumerate(pairs) if pair.status == "success"]
        columns = {
            "uid": [pair.uid for _, pair in good],
            "key": [f"{place:08d}" for place, _ in good],
            "image_path": [f"{key}/{place // per_shard:05d}/{place:08d}" for place, _ in good],
            "similarity": [pair.similarity for _, pair in good],
        }
        table = filled(schemas.EMBEDDING_ROWS, columns)
        self._put(key, "embeddings", {layout.embedding_rows(key): table}, len(good), model)

    def _put(
        self,
        key: PartitionKey,
        asset: str,
        files: dict[str, pa.Table],
        rows: int,
        model: dict | None = None,
    ) -> None:
        def work(run: StageRun) -> Report:
            for path, table in files.items():
                with run.publish(path) as part:
                    tables.write(part, table)
            return Report(rows, rows, figures={"model": model} if model else {})

        inputs = {"content": str([table.to_pylist() for table in files.values()]) + str(model)}
        materialize(self.catalog, Stage(asset, "1"), key, inputs, work)

    def metadata(self, *keys: PartitionKey) -> None:
        for key in keys or self.partitions:
            pool_metadata(self.catalog, key)

    def rows(self, key: PartitionKey) -> list[dict]:
        path = layout.pool_rows(key)
        return tables.read(self.store, path, schemas.POOL_ROWS, "pool_metadata").to_pylist()

    def subset(self, name: str):
        return subset(self.catalog, name, self.partitions).manifest

    def uids(self, name: str) -> np.ndarray:
        with self.store.local(layout.subset(name)) as file:
            return np.load(file)


@pytest.fixture
def pool(local_store: Store) -> FakePool:
    """An empty pool on a disk."""
    return FakePool(local_store)


@pytest.fixture
def any_pool(store: Store) -> FakePool:
    """An empty pool, on a disk and on an object store."""
    return FakePool(store)


@pytest.fixture
def pair() -> type[Pair]:
    """Makes pairs."""
    return Pair
