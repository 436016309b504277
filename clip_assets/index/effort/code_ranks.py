"""In which place codes put the neighbours of some queries, for every search there could be.

``effort.calibration`` asks what searches of many gaps and many numbers of candidates find. Codes of
fewer lists stand in the same order, so one search of the widest gap with the most candidates
answers for all: its candidates in the lists of a narrower gap are that one's, as far as they go.
Where that is not as many as are asked for, some are missing at the end, and too little is told to
be found.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from clip_assets.index.engine import ann, held, list_groups
from clip_assets.index.engine.ann import Floats, Ids, Index
from clip_assets.index.engine.fast_lists import PLACE, PLACE_BITS
from clip_assets.index.engine.similar import Similar

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

    Memory: 4 bytes for each query and list, 54 for each query and candidate, and what
    ``list_groups`` holds.

    Args:
        index: with all vectors.
        exact: the vectors.
        queries: (q, dim).

    Attributes:
        scores: (q, lists) similarity of each query to each centre.
        by_codes: (q, m) similarity of candidates to the query, by codes.
        similar: (q, m) the same by the vectors; NaN where one is not known.
    """

    def __init__(self, index: Index, exact: Similar, queries: Floats) -> None:
        self._index, self._exact, self._queries = index, exact, queries
        self._gap, self._most = -1.0, 0
        self.similar = self.by_codes = self._gaps = np.zeros((len(queries), 0), np.float32)

    def cover(self, gap: float, most: int) -> None:
        """Search so that this gap, and so many candidates of narrower ones, are known."""
        most = min(AHEAD * most, self._index.ntotal)
        if gap <= self._gap and most <= self._most:
            return
        self._gap, self._most = max(gap, self._gap), max(most, self._most)
        self.by_codes, pairs = list_groups.nearest(
            self._index, self._queries, self.scores, self._gap, self._most
        )
        is_there = pairs >= 0
        owners = np.where(is_there, pairs >> PLACE_BITS, 0)
        scores = np.take_along_axis(self.scores, owners, axis=1)
        self._gaps = np.where(is_there, self.scores.max(axis=1, keepdims=True) - scores, np.inf)
        self.similar = self._exact.similarities(self._queries, _ids(self._index, pairs))

    @cached_property
    def scores(self) -> Floats:
        """(q, lists) of centres; most refreshes search for nothing."""
        starts = range(0, len(self._queries), _BATCH)
        batches = (self._queries[start : start + _BATCH] for start in starts)
        return np.concatenate([ann.centroid_scores(self._index, own) for own in batches])

    def places(self, gap: float, most: int, within: Floats | None = None) -> npt.NDArray[np.int32]:
        """(q, m) each candidate's place, from 1 on, in a search of a gap; 0 if it is beyond.

        Args:
            gap: of all queries.
            most: candidates whose places are wanted.
            within: (q, 1) gap of each query, if it is less.
        """
        if gap > self._gap or min(AHEAD * most, self._index.ntotal) > self._most:
            self.cover(gap * WIDER, most)
        is_within = self._gaps <= (gap if within is None else within)
        return np.where(is_within, np.cumsum(is_within, axis=1, dtype=np.int32), np.int32(0))


def _behind(index: Index, queries: Floats) -> Floats:
    """How much less similar than the nearest centre each one is: (q, lists)."""
    scores = ann.centroid_scores(index, queries)
    return scores.max(axis=1, keepdims=True) - scores


def _ids(index: Index, pairs: Ids) -> Ids:
    """Ids of places in lists, -1 where the place is."""
    lists = ann.inverted(index)
    assert lists is not None
    flat = pairs.ravel()
    # By list; numbers are sorted much faster than an order of them is found.
    by_list = np.sort((flat & ~PLACE) | np.arange(len(flat)))
    order, owners = by_list & PLACE, by_list >> PLACE_BITS
    ids = np.full(len(flat), -1, np.int64)
    starts = np.flatnonzero(np.diff(owners)) + 1
    for own in np.split(order, starts):
        number = int(flat[own[0]]) >> PLACE_BITS
        if number >= 0:
            ids[own] = held.of_list(lists, number, flat[own] & PLACE)
    return ids.reshape(pairs.shape)
