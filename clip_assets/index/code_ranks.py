"""In which place codes put the neighbours of some queries, for every search there could be.

``index.calibration`` asks what searches of many gaps and many numbers of candidates find. Codes of
fewer lists stand in the same order, so one search of the widest gap with the most candidates
answers for all: its candidates in the lists of a narrower gap are that one's, as far as they go.
Where that is not as many as are asked for, some are missing at the end, and too little is told to
be found.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.index import ann, held, list_choice
from clip_assets.index.ann import Floats, Ids, Index
from clip_assets.index.exact import Similar

WIDER = 1.1
"""Times the gap that is asked for, where it was not searched: the next one is often as much."""

AHEAD = 2
"""Times the candidates that are asked for, so that narrower gaps have as many of them."""

WIDTH = 1e-5
"""Gaps are told apart by so much, as they are written."""

FARTHEST = 2.0
"""Between two lists there is no wider gap for unit vectors."""

_BATCH = 64
# Queries whose similarities to all centres are in memory at once.


class Scanned:
    """Share of all vectors in lists within a gap, the mean of some queries.

    Args:
        index: how vectors are cut into lists.
        sizes: (lists,) vectors in each.
        queries: (q, dim).
    """

    def __init__(self, index: Index, sizes: npt.NDArray[np.int64], queries: Floats) -> None:
        looked_at = np.zeros(round(FARTHEST / WIDTH) + 1)
        for start in range(0, len(queries), _BATCH):
            behind = _behind(index, queries[start : start + _BATCH])
            bins = np.minimum(behind / np.float32(WIDTH), len(looked_at) - 1).astype(np.int64)
            weights = np.broadcast_to(sizes, behind.shape).ravel()
            looked_at += np.bincount(bins.ravel(), weights, len(looked_at))
        self._shares = np.cumsum(looked_at) / max(1, len(queries) * int(sizes.sum()))

    def share(self, gap: float) -> float:
        """Of a gap; it may be ``WIDTH`` wider."""
        return float(self._shares[min(round(gap / WIDTH), len(self._shares) - 1)])


class CodeRanks:
    """The nearest of some queries by codes, best first.

    Memory: 20 bytes for each query and candidate; 4 for each vector, if another form is searched.

    Args:
        index: with all vectors.
        exact: the vectors.
        queries: (q, dim).
        form: of the index, that is searched instead of it.

    Attributes:
        similar: (q, m) of candidates to the query, by the vectors; NaN where one is not known.
    """

    def __init__(
        self, index: Index, exact: Similar, queries: Floats, form: Index | None = None
    ) -> None:
        self._index, self._exact, self._queries = index, exact, queries
        self._form = form if form is not index else None
        self._owners = np.empty(0, np.int32)
        self._gap, self._most = -1.0, 0
        self.similar = self._gaps = np.zeros((len(queries), 0), np.float32)

    def cover(self, gap: float, most: int) -> None:
        """Search so that this gap, and so many candidates of narrower ones, are known."""
        most = min(AHEAD * most, self._index.ntotal)
        if gap <= self._gap and most <= self._most:
            return
        self._gap, self._most = max(gap, self._gap), max(most, self._most)
        if self._form is not None and not len(self._owners):
            self._owners = _owners(self._index)
        parts = [self._searched(start) for start in range(0, len(self._queries), _BATCH)]
        similar, gaps = zip(*parts, strict=True)
        self.similar, self._gaps = np.concatenate(similar), np.concatenate(gaps)

    def places(self, gap: float, most: int) -> npt.NDArray[np.int32]:
        """(q, m) each candidate's place, from 1 on, in a search of a gap; 0 if it is beyond."""
        if gap > self._gap or min(AHEAD * most, self._index.ntotal) > self._most:
            self.cover(gap * WIDER, most)
        is_within = self._gaps <= gap
        return np.where(is_within, np.cumsum(is_within, axis=1, dtype=np.int32), np.int32(0))

    def _searched(self, start: int) -> tuple[Floats, Floats]:
        """Of a batch, similarities of candidates and the gaps of their lists."""
        queries = self._queries[start : start + _BATCH]
        if self._form is None:
            lists, ids = _search(self._index, queries, self._most, self._gap)
        else:
            # The fast form tells no places in lists.
            _, ids = ann.search(self._form, queries, self._most, self._gap)
            lists = np.where(ids >= 0, self._owners[ids], -1)
        gaps = np.take_along_axis(_behind(self._index, queries), np.maximum(lists, 0), axis=1)
        gaps[lists < 0] = np.inf
        return self._exact.similarities(queries, ids), gaps


def _behind(index: Index, queries: Floats) -> Floats:
    """How much less similar than the nearest centre each one is: (q, lists)."""
    scores = ann.centroid_scores(index, queries)
    return scores.max(axis=1, keepdims=True) - scores


def _search(index: Index, queries: Floats, k: int, gap: float) -> tuple[Ids, Ids]:
    """List and id of the nearest by their codes, (q, k) each; -1 where there are fewer."""
    lists = ann.inverted(index)
    assert lists is not None
    within = ann.inner(index, np.ascontiguousarray(queries, dtype=np.float32))
    scores, numbers = list_choice.within(lists, within, gap)
    best = np.empty((len(within), k), np.float32)
    pairs = np.empty((len(within), k), np.int64)
    arrays = map(faiss.swig_ptr, (within, numbers, scores, best, pairs))
    rows, assigned, centres, similarities, labels = arrays
    parameters = faiss.SearchParametersIVF(nprobe=numbers.shape[1])
    as_pairs = True  # of a list and a place in it, instead of ids
    lists.search_preassigned_c(
        len(within), rows, k, assigned, centres, similarities, labels, as_pairs, parameters
    )
    owners = pairs >> 32  # -1 stays what it is
    return owners, _ids(lists, owners.ravel(), pairs.ravel() & 0xFFFF_FFFF).reshape(pairs.shape)


def _ids(lists: faiss.IndexIVF, numbers: Ids, places: Ids) -> Ids:
    """Ids of places in lists, -1 where the list is."""
    ids = np.full(len(numbers), -1, np.int64)
    order = np.argsort(numbers, kind="stable")
    distinct, starts = np.unique(numbers[order], return_index=True)
    for number, own in zip(distinct.tolist(), np.split(order, starts[1:]), strict=True):
        if number >= 0:
            ids[own] = held.of_list(lists, number)[places[own]]
    return ids


def _owners(index: Index) -> npt.NDArray[np.int32]:
    """The list of each id; ids that are not used have any."""
    lists = ann.inverted(index)
    assert lists is not None
    ids = [held.of_list(lists, number) for number in range(lists.nlist)]
    owners = np.zeros(1 + max((int(own.max(initial=0)) for own in ids), default=0), np.int32)
    owners[np.concatenate(ids)] = np.repeat(np.arange(lists.nlist), [len(own) for own in ids])
    return owners
