"""How far an index must be searched to find what an exact search finds, and how well it does.

A search looks into every list whose centre is nearly as similar to the query as the nearest one:
within a *gap*. Near a border of lists these are many, within a list few, so at equal recall less
is looked at than with a fixed number of lists. The gap for each recall is calibrated on half of
the pool's own queries and measured on the other half, for captions and for images, because
captions lie elsewhere than images. Candidates are put right by the vectors themselves.

What an exact search finds is the matter of ``index.neighbours``.
"""

import numpy as np
import numpy.typing as npt

from clip_assets.index import ann
from clip_assets.index.ann import Floats, Ids, Index, Selection
from clip_assets.index.exact import ExactVectors
from clip_assets.index.neighbours import NEIGHBOURS, Truth
from clip_assets.index.reach import EVERYTHING, TARGETS, Reach

WANTED = 0.95
"""Recall for which the number of lists is written into an index, for tools that know no gap."""

CANDIDATES = 200
"""Nearest by their codes, which the vectors themselves put in order; more if more are asked for."""

ALIKE = 1e-4
"""Similarities this close are the same: copies of an image stand for each other."""

FIRST_HALF, SECOND_HALF = slice(0, None, 2), slice(1, None, 2)

MIN_QUERIES = 20
"""With fewer queries there is nothing to calibrate by, and every list is looked into."""

ROUNDS = 4
"""Gaps tried for a recall that codes alone do not reach at the gap of its lists."""

_BATCH = 64
# Queries whose similarities to all centres are in memory at once.


def nearest(
    index: Index,
    queries: Floats,
    k: int,
    gap: float | None,
    exact: ExactVectors | None,
    selected: Selection | None = None,
) -> tuple[Floats, Ids]:
    """The k nearest vectors of each query, best first.

    Args:
        index: any.
        queries: (q, dim).
        k: how many; where there are fewer, the rest has id -1.
        gap: see ``ann.search``.
        exact: puts the candidates right; None leaves them as the index has them.
        selected: ids that may be found; None: all.

    Returns:
        Similarities and ids, (q, k) each; a similarity is that of the codes where the vector
        itself is not known.
    """
    if exact is None or ann.inverted(index) is None:
        return ann.search(index, queries, k, gap, selected)
    similarities, ids = ann.search(index, queries, max(CANDIDATES, 2 * k), gap, selected)
    true = exact.similarities(queries, ids)
    similarities = np.where(np.isnan(true), similarities, true)
    similarities[ids < 0] = -np.inf
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)


class Question:
    """Queries of one kind, what an exact search finds for them, and how far away that lies.

    Half of the queries choose how far to search; the other half tells what is then found.

    Args:
        index: how the vectors are cut into lists; it may be empty.
        queries: (q, dim).
        truth: of the queries.
    """

    def __init__(self, index: Index, queries: Floats, truth: Truth) -> None:
        self._index, self._truth = index, truth
        self.queries = queries
        exists = np.isfinite(truth["similarity"])
        self.least = np.where(exists, truth["similarity"], np.inf).min(axis=1)
        gaps, ranks = self._distances()
        self._gaps, self._ranks = np.where(exists, gaps, 0), np.where(exists, ranks, 1)

    def gap(self, share: float) -> float:
        """The least gap whose lists hold such a share of the first half's true neighbours."""
        return float(np.quantile(self._gaps[FIRST_HALF], share, method="higher")) + ALIKE

    def probes(self) -> int:
        """So many of the nearest lists hold ``WANTED`` of the true neighbours."""
        return int(np.quantile(self._ranks, WANTED, method="higher")) if self._ranks.size else 1

    def scanned(self, gap: float, sizes: npt.NDArray[np.int64]) -> float:
        """Share of all vectors that lie in lists within a gap; the mean of the second half."""
        looked_at = 0
        queries = self.queries[SECOND_HALF]
        for start in range(0, len(queries), _BATCH):
            scores = ann.centroid_scores(self._index, queries[start : start + _BATCH])
            within = scores >= scores.max(axis=1, keepdims=True) - gap
            looked_at += int((within @ sizes).sum())
        return looked_at / max(1, len(queries) * int(sizes.sum()))

    def _distances(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The gap, and the rank from 1 on, of the list of each true neighbour."""
        gaps = np.zeros(self._truth.shape, np.float32)
        ranks = np.zeros(self._truth.shape, np.int64)
        for start in range(0, len(self.queries), _BATCH):
            batch = slice(start, start + _BATCH)
            scores = ann.centroid_scores(self._index, self.queries[batch])
            lists = self._truth["list"][batch].astype(np.int64)
            theirs = np.take_along_axis(scores, lists, axis=1)
            gaps[batch] = scores.max(axis=1, keepdims=True) - theirs
            # A list's rank is how many score at least as much.
            ranks[batch] = [
                len(row) - np.searchsorted(np.sort(row), own)
                for row, own in zip(scores, theirs, strict=True)
            ]
        return gaps, ranks


class Meter:
    """Measures the index of one side of a version.

    Memory: similarities of ``_BATCH`` queries to all centres, and the vectors of the candidates
    of all queries of a kind.

    Args:
        index: with all vectors.
        sizes: vectors in each list.
        exact: the vectors of the side.
    """

    def __init__(self, index: Index, sizes: npt.NDArray[np.int64], exact: ExactVectors) -> None:
        self._index, self._sizes, self._exact = index, sizes, exact

    def reach(self, question: Question) -> list[Reach]:
        """For each of ``TARGETS`` how far to search, and what is then found."""
        if len(question.queries) < MIN_QUERIES:
            return [Reach(target, EVERYTHING, 1.0, 0.0, 1.0) for target in TARGETS]
        return [self._reach(question, target) for target in TARGETS]

    def _reach(self, question: Question, target: float) -> Reach:
        gap = self._gap(question, target)
        recalls = self._recalls(question, SECOND_HALF, gap)
        return Reach(
            target=target,
            gap=round(gap, 5),
            recall=round(float(recalls.mean()), 4),
            uncertainty=round(1.96 * float(recalls.std()) / len(recalls) ** 0.5, 4),
            scanned=round(question.scanned(gap, self._sizes), 6),
        )

    def _gap(self, question: Question, target: float) -> float:
        """The least gap tried at which the first half is found as well as that."""
        share, missing = target, 0.0
        for _ in range(ROUNDS):
            # Codes lose some of what the lists hold; more lists make up for it.
            share = min(1.0, share + missing)
            recalls = self._recalls(question, FIRST_HALF, question.gap(share))
            missing = target - float(recalls.mean())
            if missing <= 0 or share == 1:
                break
        return question.gap(share)

    def _recalls(self, question: Question, half: slice, gap: float) -> Floats:
        """Recall of each query of a half."""
        queries, least = question.queries[half], question.least[half]
        wanted = min(NEIGHBOURS, self._index.ntotal)
        _, ids = nearest(self._index, queries, wanted, gap, self._exact)
        right = self._exact.similarities(queries, ids) >= least[:, None] - ALIKE
        return right.mean(axis=1)
