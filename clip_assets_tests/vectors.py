"""Vectors made up as the embeddings of a pool; the index that is made of them is real."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model, read_identity
from clip_assets.index import vectors_in
from clip_assets.index.faiss_index import faiss_index
from clip_assets.index.id_mapping import id_mapping
from clip_assets.index.index_recipe import index_recipe
from clip_assets.index.index_segments import index_segments
from clip_assets.layout import WHOLE, Key
from clip_assets.pool.asset import Outcome
from clip_assets.storage import tables, vectors
from clip_assets_tests.upstream import MadeUp

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]


def unit(rows: npt.NDArray[Any]) -> Floats:
    """Each row (the last axis) at length 1."""
    wide = np.asarray(rows, np.float32)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def unit_rows(seed: int, rows: int, dim: int) -> Floats:
    """(rows, dim) random directions, the same for the same seed."""
    return unit(np.random.default_rng(seed).normal(size=(rows, dim)))


class Indexed(MadeUp):
    """A pool whose embeddings are made up; everything after them is real."""

    def put(
        self,
        number: int,
        sides: Sequence[Floats],
        rows: Sequence[Mapping[str, Any]],
        *,
        content: str,
        model: ModelIdentity,
    ) -> Key:
        """Embed a partition.

        The first model of a store owns it, as in a real one; later ones only say so.

        Args:
            number: of the partition.
            sides: image and text vectors.
            rows: what each is of; ``image_path`` and ``key`` follow from the place.
            content: other content, other inputs.
            model: whose vectors they are.
        """
        if read_identity(self.store) is None:
            claim_model(self.store, model)
        key = layout.partition_key(number)
        images, texts = sides
        files = {
            layout.img_emb(key): partial(write_vectors, rows=images),
            layout.text_emb(key): partial(write_vectors, rows=texts),
            layout.embedding_rows(key): partial(tables.write, table=described(key, rows)),
        }
        inputs = {"content": content, "model": model.digest()}
        self.make(layout.EMBEDDINGS, key, len(rows), files if rows else {}, inputs=inputs)
        return key

    def vectors(self, key: Key, side: str = "image") -> Halves:
        """The vectors of a partition."""
        with vectors.opened(self.store, vectors_in.path(side, key)) as array:
            return np.array(array)

    def recipe(self) -> Outcome:
        return index_recipe(self.pool, WHOLE)

    def segment(self, *keys: Key) -> None:
        """Encode some partitions, by default all."""
        for key in keys or self.pool.partitions:
            index_segments(self.pool, key)

    def merge(self) -> Outcome:
        return faiss_index(self.pool, WHOLE)

    def map(self) -> Outcome:
        return id_mapping(self.pool, WHOLE)

    def index(self) -> str:
        """Bring everything up to date; the name of the version that is then served."""
        self.recipe()
        self.segment()
        self.merge()
        return self.map().manifest.report.figures["serving"]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads of tiny trainings mostly wait for each other when other tests run beside them."""
    faiss.omp_set_num_threads(1)


def write_vectors(part: Any, rows: npt.NDArray[Any]) -> None:
    """An embedding file."""
    vectors.write(part, [rows.astype(np.float16)], *rows.shape)


def described(key: Key, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of a partition's embeddings."""
    placed = [
        {"image_path": f"{key}/00000/{place:08d}", "key": f"{place:08d}"} | dict(row)
        for place, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(placed, schemas.EMBEDDING_ROWS)
