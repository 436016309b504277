"""One side of an index version, opened: the ids nearest to vectors, among all or some of them.

What a query means is said by ``retrieval.queries``; how far a search for a recall goes by
``index.effort.reach``. Rows of what is found are the matter of ``retrieval.rows``.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import NotReadyError
from clip_assets.files.kept import Kept
from clip_assets.index import slots
from clip_assets.index.effort.reach import EVERYTHING, WIDER, Effort, Reach
from clip_assets.index.engine.kinds import FLAT
from clip_assets.index.exact import ExactVectors
from clip_assets.index.far.far_embeddings import FarEmbeddings
from clip_assets.index.far.far_vectors import VectorsElsewhere
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import far_side
from clip_assets.retrieval.queries import checked_ids
from clip_assets.storage import full_disk

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Index, Selection
    from clip_assets.index.far.far_lists import FarLists

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

FEW = 20_000
"""Up to so many allowed ids are compared one by one; more are sought in the lists."""

FEW_AFAR = 100
"""The same where vectors lie elsewhere."""

NONE: Ids = np.empty(0, np.int64)

BATCH = 64
"""Queries whose candidates are in memory at once; whole vectors of ``exact.AT_ONCE`` of them."""


class Nearest(NamedTuple):
    """What is nearest to each of some queries, best first.

    Args:
        ids: (q, k) int64; -1 where there are no more.
        similarities: (q, k) float32; -inf there.
    """

    ids: Ids
    similarities: Floats


class ServedSide:
    """The index of one side of a version, and the vectors behind it. Threads may share it.

    Args:
        pool: whose version it is.
        version: which is searched.
        side: ``image`` or ``text``.
        stack: what closes opened files.
        kept: has what was read elsewhere, for as long as it has room.
    """

    def __init__(
        self, pool: Pool, version: Version, side: str, stack: ExitStack, kept: Kept | None = None
    ) -> None:
        self._pool, self._store, self._version = pool, pool.store, version
        self._side, self._stack = side, stack
        self.exact = ExactVectors(pool, version.slots, side, stack)
        self._starts = np.array([slot.start for slot in version.slots], np.int64)
        self._is_used = np.array([slot.content is not None for slot in version.slots], np.bool_)
        self._total = slots.ids(version.slots)
        self._index: Index | None = None
        self._kept = kept or Kept()
        self._embeddings = FarEmbeddings(pool, version, side)
        self._opening = Lock()

    def nearest(
        self,
        queries: Floats,
        k: int,
        reach: Reach | None,
        allowed: Ids | None = None,
        gone: Ids = NONE,
    ) -> Nearest:
        """The k nearest vectors of each query: that many, or all that there are.

        Args:
            queries: (q, dim), each of length 1.
            k: how many.
            reach: how far to look; further, where that gives fewer than k. None: into as many
                lists as the index says itself.
            allowed: (n,) ids, ascending, each once; others are not found. None: all.
            gone: (m,) ids in use that are not found, ascending, each once.

        Raises:
            ConfigurationError: ``allowed`` has ids that the version has not, or is in no order.
        """
        within = None if allowed is None else self._checked(allowed, gone)
        most = self._version.vectors - len(gone) if within is None else len(within)
        size, effort = min(k, most), reach.effort if reach else Effort()
        if not size or not len(queries):
            return _nothing(len(queries), size)
        batches = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
        if within is not None and len(within) <= FEW:
            vectors = self._all_of(within)
            if vectors is not None:
                return _joined(_scanned(batch, vectors, within, size) for batch in batches)
            effort = effort._replace(gap=EVERYTHING)
        selected = None if within is None else self._selection(within)
        return _joined(self._looked_up(batch, size, effort, selected, gone) for batch in batches)

    def _looked_up(
        self, queries: Floats, k: int, effort: Effort, selected: "Selection | None", gone: Ids
    ) -> Nearest:
        """By the lists, further and further until every query has k."""
        from clip_assets.index.effort import recall

        if (far := self._far()) is not None:
            is_used = partial(self._in_use, gone=gone)
            vectors = self._whole_of(far.index)
            assert not isinstance(vectors, ExactVectors)  # these lie where the index does
            search = far_side.FarSearch(far, vectors, is_used, selected)
            similarities, ids = search.nearest(queries, k, effort)
            return Nearest(ids, similarities)
        index, whole = self.index, self._whole_of(self.index)
        answer, wanted = _nothing(len(queries), k), k
        open_ones = np.arange(len(queries))
        while len(open_ones):
            size = min(wanted, index.ntotal)
            asked = queries[open_ones]
            similarities, ids = recall.nearest(index, asked, size, effort, whole, selected)
            is_all = size == index.ntotal and (effort.gap or 0) >= EVERYTHING
            used = self._in_use(ids, gone)
            done = (used.sum(axis=1) >= k) | is_all
            for row in np.flatnonzero(done).tolist():
                best = np.flatnonzero(used[row])[:k]
                answer.ids[open_ones[row], : len(best)] = ids[row, best]
                answer.similarities[open_ones[row], : len(best)] = similarities[row, best]
            open_ones = open_ones[~done]
            # Unused ids, or lists with too few vectors: look further.
            wanted *= WIDER
            effort = effort.further
        return answer

    def _whole_of(self, index: "Index") -> "ExactVectors | VectorsElsewhere | None":
        """What puts candidates of its codes right."""
        from clip_assets.index.engine import ann

        is_whole = ann.inverted(index) is None or ann.holds_whole(index)
        return None if is_whole else self.whole

    @property
    def whole(self) -> "ExactVectors | VectorsElsewhere | None":
        """The vectors that its index was made of; None where they cannot be read."""
        if self._store.is_local:
            return self.exact
        return VectorsElsewhere(self._embeddings, self._kept, self._side)

    def exactly(self, queries: Floats, k: int, gone: Ids = NONE) -> Nearest:
        """The k nearest of all, by comparing each: what a search should find.

        Costs a pass over the vectors of the version.

        Raises:
            NotReadyError: some are not there any more, or lie on an object store.
        """
        best = _nothing(len(queries), k)
        for start, stop in self._ranges():
            ids = np.setdiff1d(np.arange(start, stop), gone, assume_unique=True)
            vectors = self._all_of(ids)
            if vectors is None:
                raise NotReadyError(
                    f"index version {self._version.name}",
                    "vectors that lie elsewhere, or are others by now",
                    "those that it was made of, on this machine",
                    "Compare versions of the pool as it is now.",
                )
            for batch in range(0, len(queries), BATCH):
                rows = slice(batch, batch + BATCH)
                more = _scanned(queries[rows], vectors, ids, min(k, len(ids)))
                both = Nearest(
                    np.concatenate([best.ids[rows], more.ids], axis=1),
                    np.concatenate([best.similarities[rows], more.similarities], axis=1),
                )
                order = np.argsort(-both.similarities, axis=1, kind="stable")[:, :k]
                best.ids[rows] = np.take_along_axis(both.ids, order, 1)
                best.similarities[rows] = np.take_along_axis(both.similarities, order, 1)
        return best

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """Ids in use, at most ``FEW`` at a time."""
        for slot, _ in self._version.used:
            for start in range(slot.start, slot.start + slot.count, FEW):
                yield start, min(start + FEW, slot.start + slot.count)

    @property
    def file(self) -> str:
        """Where its index lies in the store."""
        return layout.index(self._version.name, self._side)

    @property
    def index(self) -> "Index":
        """Faiss' index, opened when first asked for; but for an exact one left where it lies."""
        from clip_assets.index.engine import ann, fast_lists

        if (far := self._far()) is not None:
            return far.index
        with self._opening:
            path = self.file
            if self._index is None:
                with full_disk.told(self._store.uri(path), self._store.folders):
                    file = self._stack.enter_context(self._store.local(path))
                self._index = ann.read(file, self._store.uri(path), mapped=True)
                fast_lists.make(self._index, partial(setattr, self, "_index"), self._stack)
            return self._index

    def _far(self) -> "FarLists | None":
        """The index where it lies; None where it is here, or must be."""
        if self._store.is_local or self._version.key == FLAT:
            return None
        with self._opening:
            return far_side.lists(self._store.uri(self.file), self._kept)

    def vectors(self, ids: Ids) -> Floats:
        """(n, dim) whole vectors of some ids, in their order; NaN where they are not there.

        They are not, where a partition was embedded anew since the version was made.
        """
        distinct, places = np.unique(ids, return_inverse=True)
        whole = self.whole
        if whole is None:
            return np.full((len(ids), self._version.dim), np.nan, np.float32)
        return whole.rows(distinct, self._version.dim)[places]

    def _in_use(self, ids: Ids, gone: Ids) -> npt.NDArray[np.bool_]:
        owners = np.searchsorted(self._starts, ids, side="right") - 1
        is_used = (ids >= 0) & self._is_used[owners]
        return is_used & ~np.isin(ids, gone) if len(gone) else is_used

    def _checked(self, allowed: Ids, gone: Ids) -> Ids:
        """Those of some ids that are in use and not gone."""
        ids = checked_ids(allowed, self._total)
        return ids[self._in_use(ids, gone)]

    def _all_of(self, ids: Ids) -> Floats | None:
        """Their whole vectors; None where many lie elsewhere or some are others by now."""
        whole = self.whole if self._store.is_local or len(ids) <= FEW_AFAR else None
        if whole is None:
            return None
        vectors = whole.rows(ids, self._version.dim)
        return None if np.isnan(vectors[:, 0]).any() else vectors

    def _selection(self, ids: Ids) -> "Selection":
        from clip_assets.index.engine import ann

        return ann.selection(ids, self._total)


def _scanned(queries: Floats, vectors: Floats, ids: Ids, k: int) -> Nearest:
    """The best of some vectors by comparing each; of equal ones the lower id first."""
    similar = queries @ vectors.T
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    return Nearest(ids[order], np.take_along_axis(similar, order, axis=1))


def _nothing(queries: int, k: int) -> Nearest:
    return Nearest(
        np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, dtype=np.float32)
    )


def _joined(parts: Iterable[Nearest]) -> Nearest:
    every = list(parts)
    return Nearest(*(np.concatenate(own) for own in zip(*every, strict=True)))
