"""How far an index must be searched to find what an exact search finds, and how well it does.

A search looks into every list whose centre is nearly as similar to the query as the nearest one:
within a *gap*. Near a border of lists these are many, within a list few, so at equal recall less
is looked at than with a fixed number of lists. The gap for each recall is calibrated on the
pool's own queries, for captions and for images, because captions lie elsewhere than images, and
none of them may find its own pair. What is then found is measured on queries that the gap was not
chosen by. Candidates are put right by the vectors themselves.

What an exact search finds is the matter of ``effort.neighbours``, how far a recall needs to search
that of ``effort.calibration``.
"""

from copy import copy
from typing import Self

import numpy as np
import numpy.typing as npt

from clip_assets.index.effort import neighbours
from clip_assets.index.effort.neighbours import Neighbours
from clip_assets.index.effort.reach import DEFAULT_RANK, Effort
from clip_assets.index.effort.second_look import best
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index, Selection
from clip_assets.index.engine.similar import Similar

WANTED = 0.95
"""Recall for which the number of lists is written into an index, for tools that know no gap."""

FOLDS = 5
"""Parts of the queries, of which each tells what a gap finds that the others chose."""

SEARCHED = 512
"""Queries that are searched for, to know what codes lose of what the lists hold."""

ALIKE = 1e-4
"""Similarities this close are the same: copies of an image stand for each other."""

_BATCH = 64
# Queries whose similarities to all centres are in memory at once.


def nearest(
    index: Index,
    queries: Floats,
    k: int,
    effort: Effort,
    exact: Similar | None,
    selected: Selection | None = None,
) -> tuple[Floats, Ids]:
    """The k nearest vectors of each query, best first, of equal ones the lower id.

    Args:
        index: any.
        queries: (q, dim).
        k: how many; where there are fewer, the rest has id -1.
        effort: how many lists are looked into, how many candidates of codes are put right.
        exact: puts the candidates of codes right; None leaves them as the index has them.
        selected: ids that may be found; None: all.

    Returns:
        Similarities and ids, (q, k) each; a similarity is that of the codes where the vector
        itself is not known.
    """
    if exact is None or ann.inverted(index) is None or ann.holds_whole(index):
        return best(*ann.search(index, queries, k, effort.gap, selected), k)
    candidates = max(effort.candidates, 2 * k)
    similarities, ids = ann.search(index, queries, candidates, effort.gap, selected)
    return put_right(similarities, ids, queries, k, exact)


def put_right(
    similarities: Floats, ids: Ids, queries: Floats, k: int, exact: Similar
) -> tuple[Floats, Ids]:
    """The k best of what codes found, by the vectors themselves; see ``nearest``.

    Args:
        similarities: (q, c) by codes.
        ids: (q, c), -1 where codes found no more.
        queries: (q, dim).
        k: how many.
        exact: knows the vectors.
    """
    true = exact.similarities(queries, ids)
    similarities = np.where(np.isnan(true), similarities, true)
    similarities[ids < 0] = -np.inf
    return best(similarities, ids, k)


class Question:
    """Queries of one kind, what an exact search finds for them, and how far away that lies.

    Args:
        index: how the vectors are cut into lists; it may be empty.
        queries: (q, dim).
        truth: (q, kept) neighbours of the queries, their own pairs among them.
        own: (q, dim), what the queries' own pairs have on the side that is searched.
    """

    def __init__(self, index: Index, queries: Floats, truth: Neighbours, own: Floats) -> None:
        self._index, self.queries = index, queries
        self.own = np.einsum("qd,qd->q", queries, own)
        self._truth = neighbours.others(truth, self.own)
        exists = np.isfinite(self._truth["similarity"])
        self._gaps = np.where(exists, self._distances(), 0)

    def first(self, k: int) -> Self:
        """The same of the k nearest alone."""
        fewer = copy(self)
        fewer._truth = self._truth[:, :k]
        fewer._gaps = self._gaps[:, :k]
        return fewer

    @property
    def k(self) -> int:
        """So many neighbours are asked for."""
        return self._truth.shape[1]

    @property
    def known(self) -> npt.NDArray[np.int64]:
        """(q,) neighbours that there are."""
        return np.isfinite(self._truth["similarity"]).sum(axis=1)

    @property
    def least(self) -> Floats:
        """(q,) similarity of the last neighbour, inf where there is none."""
        similarities = self._truth["similarity"]
        return np.where(np.isfinite(similarities), similarities, np.inf).min(axis=1)

    @property
    def sample(self) -> slice:
        """At most ``SEARCHED`` of the queries, evenly taken."""
        return slice(None, None, max(1, -(-len(self.queries) // SEARCHED)))

    def gap(self, share: float) -> float:
        """The least gap whose lists hold such a share of the true neighbours."""
        return _least_gap(self._gaps, share)

    def within(self, gap: float) -> Floats:
        """Share of each query's true neighbours that lie in lists within a gap."""
        return (self._gaps <= gap).mean(axis=1)

    def within_gap_of_others(self, share: float) -> Floats:
        """The same for a gap that a query has no part in: each fold's is chosen by the others."""
        folds = np.arange(len(self._gaps)) % FOLDS
        held = np.empty(len(self._gaps), np.float32)
        for fold in range(FOLDS):
            gap = _least_gap(self._gaps[folds != fold], share)
            held[folds == fold] = (self._gaps[folds == fold] <= gap).mean(axis=1)
        return held

    def probes(self) -> int:
        """So many of the nearest lists hold ``WANTED`` of the nearest of the sample.

        Of the ``DEFAULT_RANK`` nearest, or of all ``k`` if those are fewer.
        """
        asked, truth = self.queries[self.sample], self._truth[self.sample, :DEFAULT_RANK]
        ranks = np.ones(truth.shape, np.int64)
        for start in range(0, len(asked), _BATCH):
            batch = slice(start, start + _BATCH)
            scores = ann.centroid_scores(self._index, asked[batch])
            theirs = np.take_along_axis(scores, truth["list"][batch].astype(np.int64), axis=1)
            for own, among, rank in zip(theirs, scores, ranks[batch], strict=True):
                # A list's rank is how many score at least as much.
                best = np.sort(among[among >= own.min()])
                rank[:] = len(best) - np.searchsorted(best, own)
        ranks[~np.isfinite(truth["similarity"])] = 1
        return int(np.quantile(ranks, WANTED, method="higher")) if ranks.size else 1

    def _distances(self) -> Floats:
        """The gap of the list of each true neighbour."""
        gaps = np.zeros(self._truth.shape, np.float32)
        for start in range(0, len(self.queries), _BATCH):
            batch = slice(start, start + _BATCH)
            scores = ann.centroid_scores(self._index, self.queries[batch])
            lists = self._truth["list"][batch].astype(np.int64)
            theirs = np.take_along_axis(scores, lists, axis=1)
            gaps[batch] = scores.max(axis=1, keepdims=True) - theirs
        return gaps


def _least_gap(gaps: Floats, share: float) -> float:
    return float(np.quantile(gaps, share, method="higher")) + ALIKE
