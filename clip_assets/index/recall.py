"""How much of what an exact search finds an index finds, and how far it must look for that.

Measured for queries of both kinds: captions lie elsewhere than images, so an index that is
good for one may be poor for the other. What must always hold is checked in ``index.verify``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.index import ann, vectors_in
from clip_assets.index.ann import Floats, Ids, Index
from clip_assets.index.slots import Slot
from clip_assets.index.vectors_in import Embedded
from clip_assets.storage import vectors
from clip_assets.storage.store import Store

NEIGHBOURS = 10

QUERIES = 200
"""Of each kind; a recall of 0.95 is then known to about 0.01."""

WANTED = 0.95
"""Recall that searching is tuned to, for the worse of the two kinds of queries."""

ALIKE = 1e-4
"""Similarities this close are the same: copies of an image stand for each other."""

ENOUGH = 0.005
"""Where the wanted recall is out of reach, this much less than the best is good enough."""

MOST_PROBES = 256
SHARE_OF_LISTS = 8
"""Tuning tries at most so many lists, or every eighth where these are more."""

CHUNK_ROWS = 32_768

SEED = 11


@dataclass(frozen=True, slots=True)
class Recall:
    """How well one side of an index is searched.

    Args:
        probes: inverted lists that a search looks into; 1 for an exact index.
        by: mean recall at ``NEIGHBOURS`` for image and for text queries.
    """

    probes: int
    by: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Truth:
    """Queries of one kind, and the least similarity of their true neighbours, (q,)."""

    queries: Floats
    least: Floats
    neighbours: int


class Meter:
    """Measures indices of one side of the pool.

    Memory: ``CHUNK_ROWS`` vectors in float32, and twice their similarities to ``QUERIES``.

    Args:
        store: the pool's files.
        embedded: the embedded partitions in the order of their ids.
        slots: the ranges of ids in use, one for each partition of the pool.
        side: ``image`` or ``text``.
    """

    def __init__(self, store: Store, embedded: Embedded, slots: list[Slot], side: str) -> None:
        self._store, self._embedded, self._side = store, embedded, side
        self._ids = np.array([slot.start for slot in slots])
        self._places = np.cumsum([0, *(slot.count for slot in slots)])
        self._truths = {kind: self._truth(kind) for kind in layout.SIDES}

    def tune(self, index: Index) -> Recall:
        """Let an index look into as many lists as the wanted recall needs, and measure it."""
        _, lists = ann.probes(index)
        tried: list[Recall] = []
        probes = 1
        while not tried or (min(tried[-1].by.values()) < WANTED and probes < 2 * _most(lists)):
            tried.append(self.measure(index, min(probes, lists)))
            probes *= 2
        best = max(min(recall.by.values()) for recall in tried)
        chosen = next(r for r in tried if min(r.by.values()) >= min(WANTED, best - ENOUGH))
        ann.set_probes(index, chosen.probes)
        return chosen

    def measure(self, index: Index, probes: int) -> Recall:
        """How well an index is searched when so many lists are looked into."""
        by = {kind: self._recall(index, probes, truth) for kind, truth in self._truths.items()}
        return Recall(probes, by)

    def _recall(self, index: Index, probes: int, truth: _Truth) -> float:
        if not truth.neighbours:
            return 1.0
        _, ids = ann.search(index, truth.queries, truth.neighbours, probes)
        right = (self._similarities(truth.queries, ids) >= truth.least[:, None] - ALIKE).sum()
        return round(float(right) / ids.size, 4)

    def _similarities(self, queries: Floats, ids: Ids) -> Floats:
        """What the found vectors are really worth; an index may hold rounded ones."""
        places = np.where(ids < 0, 0, self._place(ids))
        distinct, where = np.unique(places, return_inverse=True)
        rows = vectors_in.rows_at(self._store, self._embedded, self._side, distinct)
        exact = np.einsum("qd,qkd->qk", queries, rows[where.reshape(ids.shape)])
        return np.where(ids < 0, -np.inf, exact)

    def _place(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Row in the pool of each id in use."""
        slot = np.searchsorted(self._ids, ids, side="right") - 1
        return np.asarray(ids - self._ids[slot] + self._places[slot], np.int64)

    def _truth(self, kind: str) -> _Truth:
        wanted = min(QUERIES, self._embedded.vectors)
        random = np.random.default_rng(SEED)
        rows = np.sort(random.choice(self._embedded.vectors, size=wanted, replace=False))
        queries = vectors_in.rows_at(self._store, self._embedded, kind, rows)
        neighbours = min(NEIGHBOURS, self._embedded.vectors)
        return _Truth(queries, self._least(queries, neighbours), neighbours)

    def _least(self, queries: Floats, neighbours: int) -> Floats:
        """Similarity of each query's true n-th neighbour, by comparing it with every vector."""
        best = np.full((len(queries), neighbours), -np.inf, np.float32)
        for chunk in self._chunks():
            both = np.concatenate([best, queries @ chunk.astype(np.float32).T], axis=1)
            best = np.partition(both, -neighbours, axis=1)[:, -neighbours:]
        return best.min(axis=1, initial=np.inf)

    def _chunks(self) -> Iterator[npt.NDArray[np.float16]]:
        for manifest in self._embedded.done:
            if not manifest.report.rows_out:
                continue
            name = vectors_in.path(self._side, manifest.key)
            with vectors.opened(self._store, name) as array:
                for start in range(0, len(array), CHUNK_ROWS):
                    yield array[start : start + CHUNK_ROWS]


def _most(lists: int) -> int:
    return min(lists, max(MOST_PROBES, lists // SHARE_OF_LISTS))
