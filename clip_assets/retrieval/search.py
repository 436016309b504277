"""From a query to ranked pairs of the pool, by the served index version.

What a query may be is said by ``retrieval.queries``, several at once by ``retrieval.terms``; ids
come from ``retrieval.served_side``, rows from ``retrieval.rows``. The versions are made in
``index``.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

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
from clip_assets.files.kept import Kept
from clip_assets.index import versions
from clip_assets.index.effort.reach import Reach, of_search
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import queries
from clip_assets.retrieval.hits import Hit
from clip_assets.retrieval.queries import Query, Uid, Vector
from clip_assets.retrieval.rows import Ids, Rows
from clip_assets.retrieval.served_side import Floats, Nearest, ServedSide
from clip_assets.retrieval.terms import Mix, Term, mix
from clip_assets.retrieval.unfound import TakenDownIds


class Searcher:
    """One index version, opened for searching; close it, or use it as a context.

    Indices stay on the disk and are read as they are needed; an exact index is loaded.
    """

    def __init__(self, pool: Pool, version: Version) -> None:
        self.version = version
        self.pool = pool
        self._store = pool.store
        opened = self._stack, self._kept = ExitStack(), Kept()
        self._rows = Rows(pool.store, version, *opened)
        self._taken_down = TakenDownIds(pool.store, version, self._rows)
        self._sides = {side: ServedSide(pool, version, side, *opened) for side in layout.SIDES}

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
        self._sides.clear()
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
        allowed: Ids | None = None,
    ) -> list[Hit]:
        """The pairs nearest to a query, best first.

        Args:
            query: a text, image, embedding or pair, see ``retrieval.queries.Query``.
            k: how many at most; fewer if there are no more.
            threshold: least similarity.
            side: ``image`` to compare with images, ``text`` to compare with captions.
            recall_target: share of what an exact search finds, rounded up to one of
                ``reach.TARGETS``; None: the pool's setting.
            allowed: see ``search_many``.

        Raises:
            ConfigurationError: one of these cannot be, or the pair is not in the index.
            ModelLoadError: the query needs the pool's model, which cannot be loaded.
            ModelMismatchError: the settings name another model than that of the index.
        """
        queries.check_asked(k, side)
        answer = self.search_many(
            self.vector(query)[None],
            k,
            side,
            kind=None if isinstance(query, np.ndarray) else queries.kind(query),
            recall_target=recall_target,
            allowed=allowed,
        )
        least = -np.inf if threshold is None else threshold
        is_close = (answer.ids[0] >= 0) & (answer.similarities[0] >= least)
        ids, similarities = answer.ids[0][is_close].tolist(), answer.similarities[0][is_close]
        return [
            Hit.of(vector_id, similarity, self._rows.partition(vector_id), row)
            for vector_id, similarity, row in zip(
                ids, similarities.tolist(), self._rows.read(ids), strict=True
            )
        ]

    def search_many(
        self,
        vectors: Floats,
        k: int = 10,
        side: str = "image",
        *,
        kind: str | None = None,
        recall_target: float | None = None,
        allowed: Ids | None = None,
    ) -> Nearest:
        """The ids nearest to each of many vectors.

        Args:
            vectors: (q, dim), each of length 1, as ``vector`` and ``mix`` give them.
            k: how many; as many are found, or all that there are.
            side: ``image`` to compare with images, ``text`` to compare with captions.
            kind: whether they are of a ``text`` or an ``image``; None: of either or both.
            recall_target: see ``search``.
            allowed: (n,) int64 ids of this version, ascending, each once: no other is found.
                Up to ``served_side.FEW`` are compared one by one, which finds exactly the best;
                more are sought in lists. None: all.

        Returns:
            ``ids`` and ``similarities``, (q, k) each, k of them or as many as there are.

        Raises:
            ConfigurationError: one of these cannot be.
        """
        queries.check_asked(k, side)
        queries.check_vectors(vectors, self.version.dim)
        reach = self.reach(k, side, kind=kind, recall_target=recall_target)
        return self._sides[side].nearest(
            vectors.astype(np.float32), k, reach, allowed, self.taken_down
        )

    def reach(
        self,
        k: int = 10,
        side: str = "image",
        *,
        kind: str | None = None,
        recall_target: float | None = None,
    ) -> Reach | None:
        """How far a search goes, and which recall was measured of how many nearest.

        Arguments and errors are those of ``search_many``. None where the version knows only a
        number of lists.
        """
        kinds = self.version.reach.get(side)
        target = recall_target or self.pool.settings.index.recall_target
        return of_search(kinds, kind, target, k) if kinds else None

    def vector(self, query: Query) -> Vector:
        """The vector that a query means, (dim,) float32 of length 1.

        Raises:
            ConfigurationError: it means none, or the pair is not in the index.
            ModelLoadError: the query needs the pool's model, which cannot be loaded.
            ModelMismatchError: the settings name another model than that of the index.
        """
        match query:
            case Uid():
                embedding = self._image_vector(query)
            case np.ndarray():
                embedding = query
            case _:
                embedding = queries.encode(query, self._encoder)
        return queries.unit(embedding, self.version.dim)

    def vectors_of(self, asked: Sequence[Query]) -> Floats:
        """The vectors of many queries, (q, dim) float32; texts are encoded together."""
        texts = [place for place, query in enumerate(asked) if isinstance(query, str)]
        rows = np.empty((len(asked), self.version.dim), np.float32)
        if texts:
            embedded = queries.encode_many([str(asked[place]) for place in texts], self._encoder)
            rows[texts] = [queries.unit(row, self.version.dim) for row in embedded]
        for place in sorted({*range(len(asked))} - {*texts}):
            rows[place] = self.vector(asked[place])
        return rows

    def mix(self, terms: Sequence[Term]) -> Mix:
        """One vector of several queries, see ``retrieval.terms``; raises what ``vector`` does."""
        return mix(terms, self.vector)

    def exactly(self, vectors: Floats, k: int = 10, side: str = "image") -> Nearest:
        """What an exact search finds; costs a pass over all, see ``ServedSide.exactly``."""
        gone = self.taken_down
        return self._sides[side].exactly(vectors, min(k, self.version.vectors - len(gone)), gone)

    def vectors(self, ids: Ids, side: str = "image") -> Floats:
        """(n, dim) float32 whole vectors of ids; NaN of partitions embedded anew since then."""
        return self._sides[side].vectors(ids)

    def rows(self, ids: Ids, columns: Sequence[str] = schemas.INDEX_ROWS.names) -> pa.Table:
        """What some vector ids are: a row for each, in their order, all null for unused ids.

        Pairs that were taken down are told too, to whoever has their ids: see ``taken_down``.

        Args:
            ids: (n,) int64, each of this version.
            columns: of ``schemas.INDEX_ROWS``; fewer are read faster.
        """
        return self._rows.table(ids, columns)

    def values(self, ids: Ids, columns: Sequence[str]) -> list[list[Any]]:
        """What ``rows`` tells, as lists: for each column the values of the ids."""
        return self._rows.values(ids, columns)

    def ids(self, uids: Sequence[str]) -> Ids:
        """The vector id of each uid, (n,) int64; -1 for one that the version has not.

        One that was taken down is one that it has not.

        Raises:
            SchemaError: one of them is no uid of 32 hex digits.
        """
        ids = self._rows.find(uids)
        return np.where(np.isin(ids, self.taken_down), -1, ids)

    @property
    def sides(self) -> Sequence[str]:
        """Which can be searched."""
        return layout.SIDES

    @property
    def taken_down(self) -> Ids:
        """(n,) int64 ids that are not found because their pairs were taken down, by now."""
        return self._taken_down.now()

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
        vector = self.vectors(np.array([vector_id]))[0]
        if np.isnan(vector).any():
            raise ConfigurationError(
                "query",
                f"uid {pair.value!r}, whose partition was embedded anew",
                f"the vectors of index version {self.version.name}",
                f"Run: clip-assets run --select '*{layout.ID_MAPPING}', which refreshes the index.",
            )
        return vector
