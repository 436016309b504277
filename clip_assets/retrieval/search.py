"""From a query to ranked pairs of the pool, by the served index version.

What a query may be is said by ``retrieval.queries``; rows come from ``retrieval.rows``. The
versions themselves are made in ``index``.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    ConfigurationError,
    MissingArtifactError,
    ModelMismatchError,
    SchemaError,
)
from clip_assets.index import versions
from clip_assets.index.exact import ExactVectors
from clip_assets.index.reach import EVERYTHING, for_target
from clip_assets.index.versions import Version
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import queries
from clip_assets.retrieval.queries import Query, Uid, Vector
from clip_assets.retrieval.rows import Ids, Rows

if TYPE_CHECKING:
    from clip_assets.index.ann import Index

WIDER = 4
"""Each further look asks for so many times the ids, and goes so many times as far."""

NEAR = 0.01
"""The least that a further look goes."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair that was found.

    Args:
        uid: the pair.
        id: of its vector in this index version.
        similarity: cosine of query and vector.
        url: of the image.
        caption: of the image.
        partition: where the pair is.
        key: of the sample in its partition.
        image_path: ``<partition>/<shard>/<key>``.
        width: of the image in the shard, pixels.
        height: of the image in the shard, pixels.
        original_width: of the image as it was downloaded, pixels.
        original_height: of the image as it was downloaded, pixels.
        sha256: of the image as it was downloaded.
        pair_similarity: cosine of the pair's own image and caption.
    """

    uid: str
    id: int
    similarity: float
    url: str | None
    caption: str | None
    partition: PartitionKey
    key: str
    image_path: str
    width: int | None
    height: int | None
    original_width: int | None
    original_height: int | None
    sha256: str | None
    pair_similarity: float | None


class Searcher:
    """One index version, opened for searching; close it, or use it as a context.

    Indices stay on the disk and are read as they are needed; an exact index is loaded.
    """

    def __init__(self, pool: Pool, version: Version) -> None:
        self.version = version
        self.pool = pool
        self._store = pool.store
        self._stack = ExitStack()
        self._rows = Rows(pool.store, version, self._stack)
        self._indices: dict[str, Index] = {}
        self._exact = {
            side: ExactVectors(pool, version.slots, side, self._stack) for side in layout.SIDES
        }

    @classmethod
    def open(cls, pool: Pool) -> Self:
        """Open the version that is served; a model is loaded by the first query that needs one.

        Raises:
            MissingArtifactError: no version is served yet.
        """
        name = versions.current(pool.store)
        if name is None:
            raise MissingArtifactError(
                pool.store.uri(layout.CURRENT),
                "no index",
                "a served version",
                versions.go_back(pool.store)
                if versions.merged(pool.store)
                else "Run: clip-assets run",
            )
        return cls(pool, versions.read(pool.store, name))

    def close(self) -> None:
        """Close files, and remove copies of remote ones."""
        self._indices.clear()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def search(
        self,
        query: Query,
        k: int = 10,
        threshold: float | None = None,
        side: str = "image",
        *,
        recall_target: float | None = None,
    ) -> list[Hit]:
        """The pairs nearest to a query, best first.

        Args:
            query: a text, image, embedding or pair, see ``retrieval.queries.Query``.
            k: how many at most; fewer if the index has no more.
            threshold: least similarity.
            side: ``image`` to compare with images, ``text`` to compare with captions.
            recall_target: share of what an exact search finds, rounded up to one of
                ``reach.TARGETS``; None: the pool's setting.

        Raises:
            ConfigurationError: one of these cannot be, or the pair is not in the index.
            ModelLoadError: the query needs the pool's model, which cannot be loaded.
            ModelMismatchError: the settings name another model than that of the index.
        """
        if k < 1:
            raise ConfigurationError("k", str(k), "1 or more", "Ask for at least one result.")
        if side not in layout.SIDES:
            raise ConfigurationError("side", repr(side), "image or text", "Choose one.")
        target = recall_target or self.pool.settings.index.recall_target
        gap = self._gap(query, side, target)
        nearest = self._nearest(self._vector(query), k, side, gap)
        close = [(i, s) for i, s in nearest if threshold is None or s >= threshold]
        rows = self._rows.read([vector_id for vector_id, _ in close])
        return [
            _hit(vector_id, similarity, self._rows.partition(vector_id), row)
            for (vector_id, similarity), row in zip(close, rows, strict=True)
        ]

    def rows(self, ids: Ids, columns: Sequence[str] = schemas.INDEX_ROWS.names) -> pa.Table:
        """What some vector ids are: a row for each, in their order, all null for unused ids.

        Args:
            ids: (n,) int64, each of this version.
            columns: of ``schemas.INDEX_ROWS``; fewer are read faster.
        """
        return self._rows.table(ids, columns)

    def ids(self, uids: Sequence[str]) -> Ids:
        """The vector id of each uid, (n,) int64; -1 for one that the version has not.

        Raises:
            SchemaError: one of them is no uid of 32 hex digits.
        """
        return self._rows.find(uids)

    def _vector(self, query: Query) -> Vector:
        match query:
            case Uid():
                embedding = self._image_vector(query)
            case np.ndarray():
                embedding = query
            case _:
                embedding = queries.encode(query, self._encoder)
        return queries.unit(embedding, self.version.dim)

    def _encoder(self) -> Encoder:
        encoder = self.pool.encoder()
        if encoder.identity.digest() != self.version.model:
            raise ModelMismatchError(
                f"index version {self.version.name}",
                f"vectors of {self.version.model_name}",
                f"vectors of {encoder.identity.describe()}, the model of the query",
                "Search with the model of the index.",
            )
        return encoder

    def _image_vector(self, pair: Uid) -> Vector:
        try:
            [vector_id] = self.ids([pair.value]).tolist()
        except SchemaError:  # not even the form of a uid
            vector_id = -1
        if vector_id < 0:
            raise ConfigurationError(
                "query",
                f"uid {pair.value!r}",
                f"a pair of index version {self.version.name}",
                "A pair without an image has no vector; see its status in the pool's metadata.",
            )
        vector = self._exact["image"].rows(np.array([vector_id]), self.version.dim)[0]
        if np.isnan(vector).any():
            raise ConfigurationError(
                "query",
                f"uid {pair.value!r}, whose partition was embedded anew",
                f"the vectors of index version {self.version.name}",
                f"Run: clip-assets run --select '*{layout.ID_MAPPING}', which refreshes the index.",
            )
        return vector

    def _gap(self, query: Query, side: str, recall_target: float) -> float | None:
        """How far a query looks; None where the version knows only a number of lists."""
        kinds = self.version.reach.get(side)
        if kinds is None:
            return None
        gaps = {kind: for_target(known, recall_target).gap for kind, known in kinds.items()}
        # What an embedding is of is not known.
        return max(gaps.values()) if isinstance(query, np.ndarray) else gaps[queries.kind(query)]

    def _nearest(
        self, vector: Vector, k: int, side: str, gap: float | None
    ) -> list[tuple[int, float]]:
        """Ids in use and their similarities, best first, k of them or all there are."""
        from clip_assets.index import recall

        index = self._index(side)
        exact = self._exact[side] if self._store.is_local else None
        if not index.ntotal:
            return []
        wanted = k
        while True:
            size = min(wanted, index.ntotal)
            similarities, ids = recall.nearest(index, vector[None], size, gap, exact)
            used = [
                (vector_id, similarity)
                for vector_id, similarity in zip(
                    ids[0].tolist(), similarities[0].tolist(), strict=True
                )
                if vector_id >= 0 and self._rows.partition(vector_id) is not None
            ]
            is_all = size == index.ntotal and gap is not None and gap >= EVERYTHING
            if len(used) >= k or is_all:
                return used[:k]
            # Unused ids, or lists with too few vectors: look further.
            wanted *= WIDER
            gap = min(max(NEAR, gap or 0) * WIDER, EVERYTHING)

    def _index(self, side: str) -> "Index":
        from clip_assets.index import ann

        if side not in self._indices:
            path = layout.index(self.version.name, side)
            file = self._stack.enter_context(self._store.local(path))
            self._indices[side] = ann.read(file, self._store.uri(path), mapped=True)
        return self._indices[side]


def _hit(
    vector_id: int, similarity: float, partition: PartitionKey | None, row: dict[str, Any]
) -> Hit:
    assert partition is not None
    names = (field.name for field in fields(Hit) if field.name in row)
    columns = {name: row[name] for name in names if name != "similarity"}
    return Hit(
        id=vector_id,
        similarity=similarity,
        partition=partition,
        pair_similarity=row["similarity"],
        **columns,
    )
