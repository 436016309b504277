"""An indexed pool whose model is arithmetic: the same words or bytes, the same direction."""

import zlib
from collections.abc import Sequence

import faiss
import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.index.faiss_index import faiss_index
from clip_assets.index.id_mapping import id_mapping
from clip_assets.index.index_recipe import index_recipe
from clip_assets.index.index_segments import index_segments
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Stage, StageRun, materialize
from clip_assets.settings import Index
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store

DIM = 24


def direction(content: bytes) -> np.ndarray:
    found = np.random.default_rng(zlib.crc32(content)).normal(size=DIM).astype(np.float32)
    return found / np.linalg.norm(found)


class WordEncoder:
    """An encoder in which the image of a caption is the caption's bytes."""

    dim = DIM

    def __init__(self, name: str = "words") -> None:
        self.identity = ModelIdentity(name, None, name[0] * 64, "bytes", DIM, "fp32")

    def preprocess(self, content: bytes) -> np.ndarray:
        return np.frombuffer(content, np.uint8).reshape(1, -1, 1)

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        found = [direction(image.tobytes()) for image in images]
        return np.reshape(found, (-1, DIM)).astype(np.float16)

    def encode_text(self, captions: Sequence[str]) -> np.ndarray:
        # Texts lie near their images, not on them.
        near = [direction(c.encode()) + 0.4 * direction(b"text " + c.encode()) for c in captions]
        return np.reshape([v / np.linalg.norm(v) for v in near], (-1, DIM)).astype(np.float16)


class Pool:
    """Captions in, a served index out."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.encoder = WordEncoder()
        self.settings = Index()
        self.partitions: list[PartitionKey] = []

    def add(self, number: int, captions: list[str]) -> PartitionKey:
        key = layout.partition_key(number)
        self.partitions = sorted({*self.partitions, key})
        sides = {
            layout.img_emb(key): self.encoder.encode_images(
                [self.encoder.preprocess(caption.encode()) for caption in captions]
            ),
            layout.text_emb(key): self.encoder.encode_text(captions),
        }

        def work(run: StageRun) -> Report:
            for path, array in sides.items():
                with run.publish(path) as part:
                    vectors.write(part, [array], *array.shape)
            with run.publish(layout.embedding_rows(key)) as part:
                tables.write(part, self.rows(key, captions), schemas.EMBEDDING_ROWS)
            identity = self.encoder.identity
            model = {"name": identity.name, "pretrained": None, "digest": identity.digest()}
            return Report(len(captions), len(captions), figures={"model": model})

        inputs = {"captions": str(captions), "model": self.encoder.identity.digest()}
        materialize(Catalog(self.store), Stage("embeddings", "1"), key, inputs, work)
        return key

    @staticmethod
    def rows(key: PartitionKey, captions: list[str]) -> pa.Table:
        numbers = range(len(captions))
        given = {
            "uid": [f"{zlib.crc32(caption.encode()):032x}" for caption in captions],
            "url": [f"http://h/{key}/{number}" for number in numbers],
            "caption": captions,
            "image_path": [f"{key}/00000/{number:08d}" for number in numbers],
            "key": [f"{number:08d}" for number in numbers],
            "width": [256] * len(captions),
            "similarity": [0.25] * len(captions),
        }
        schema = schemas.EMBEDDING_ROWS
        arrays = [pa.array(given.get(f.name, [None] * len(captions)), f.type) for f in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def index(self, **settings: object) -> None:
        self.settings = self.settings.model_copy(update=settings)
        index_recipe(Catalog(self.store), self.partitions, self.settings)
        for key in self.partitions:
            index_segments(Catalog(self.store), key)
        faiss_index(Catalog(self.store), self.partitions, self.settings)
        id_mapping(Catalog(self.store), self.partitions)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads of tiny trainings mostly wait for each other when other tests run beside them."""
    faiss.omp_set_num_threads(1)


@pytest.fixture
def pool(local_store: Store) -> Pool:
    """An empty pool on a disk."""
    return Pool(local_store)


@pytest.fixture
def any_pool(store: Store) -> Pool:
    """An empty pool, on a disk and on an object store."""
    return Pool(store)


@pytest.fixture
def other_encoder() -> WordEncoder:
    """Another model than the pool's."""
    return WordEncoder("letters")
