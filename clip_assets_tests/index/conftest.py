"""A pool of random unit vectors, as the stages before the index would leave it."""

import zlib

import faiss
import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.index.faiss_index import faiss_index
from clip_assets.index.id_mapping import id_mapping
from clip_assets.index.index_recipe import index_recipe
from clip_assets.index.index_segments import index_segments
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.settings import Index
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store

DIM = 16
EMBEDDINGS = Stage("embeddings", "1")


def unit_rows(seed: str, rows: int, dim: int = DIM) -> np.ndarray:
    """(rows, dim) float16, the same for the same seed."""
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    found = random.normal(size=(rows, dim)).astype(np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


class FakePool:
    """A store whose embeddings are made up; everything after them is real."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.settings = Index()
        self.partitions: list[PartitionKey] = []

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    def embed(
        self, number: int, rows: int, *, content: str = "", model: str = "m" * 64, dim: int = DIM
    ) -> PartitionKey:
        """Embed a partition; other ``content`` gives other vectors."""
        key = layout.partition_key(number)
        if key not in self.partitions:
            self.partitions = sorted([*self.partitions, key])
        image = unit_rows(f"{key} {content} image", rows, dim)
        near = image.astype(np.float32) + 0.3 * unit_rows(f"{key} {content} text", rows, dim)
        text = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float16)

        def work(run: StageRun) -> Report:
            for path, array in ((layout.img_emb(key), image), (layout.text_emb(key), text)):
                with run.publish(path) as part:
                    vectors.write(part, [array], rows, dim)
            with run.publish(layout.embedding_rows(key)) as part:
                tables.write(part, self.rows(key, rows, content), schemas.EMBEDDING_ROWS)
            identity = {"name": f"model-{model[:3]}", "pretrained": None, "digest": model}
            return Report(rows, rows, figures={"model": identity})

        materialize(self.catalog, EMBEDDINGS, key, {"content": content, "model": model}, work)
        return key

    @staticmethod
    def rows(key: PartitionKey, rows: int, content: str) -> pa.Table:
        names = [f"{key}{content}-{row}" for row in range(rows)]
        numbers = pa.array(range(rows), pa.int32())
        columns = {
            "uid": [f"{zlib.crc32(name.encode()):032x}" for name in names],
            "url": [f"http://h/{name}.jpg" for name in names],
            "caption": names,
            "image_path": [f"{key}/00000/{row:08d}" for row in range(rows)],
            "key": [f"{row:08d}" for row in range(rows)],
            "sha256": ["0" * 64] * rows,
            "similarity": pa.array([0.5] * rows, pa.float32()),
        }
        sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), numbers)
        return pa.table(columns | sizes).select(schemas.EMBEDDING_ROWS.names)

    def vectors(self, key: PartitionKey, side: str = "image") -> np.ndarray:
        path = layout.img_emb(key) if side == "image" else layout.text_emb(key)
        with vectors.opened(self.store, path, "test") as array:
            return np.array(array)

    def recipe(self) -> Outcome:
        return index_recipe(self.catalog, self.partitions, self.settings)

    def segment(self, *keys: PartitionKey) -> None:
        for key in keys or self.partitions:
            index_segments(self.catalog, key)

    def merge(self) -> Outcome:
        return faiss_index(self.catalog, self.partitions, self.settings)

    def map(self) -> Outcome:
        return id_mapping(self.catalog, self.partitions)

    def index(self) -> str:
        """Bring everything up to date; the name of the version that is then served."""
        self.recipe()
        self.segment()
        self.merge()
        return self.map().manifest.report.figures["serving"]

    def set(self, **changes: object) -> None:
        self.settings = self.settings.model_copy(update=changes)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads of tiny trainings mostly wait for each other when other tests run beside them."""
    faiss.omp_set_num_threads(1)


@pytest.fixture
def pool(local_store: Store) -> FakePool:
    """An empty pool on a disk."""
    return FakePool(local_store)


@pytest.fixture
def any_pool(store: Store) -> FakePool:
    """An empty pool, on a disk and on an object store."""
    return FakePool(store)
