"""How far an index must be searched to find what an exact search finds, and how well it does.

A search looks into every list whose centre is nearly as similar to the query as the nearest one:
within a *gap*. Near a border of lists these are many, within a list few, so at equal recall less
is looked at than with a fixed number of lists. The gap for each recall is calibrated on the
pool's own queries, for captions and for images, because captions lie elsewhere than images, and
none of them may find its own pair. What is then found is measured on queries that the gap was not
chosen by. Candidates are put right by the vectors themselves.

What an exact search finds is the matter of ``index.neighbours``.
"""

from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np
import numpy.typing as npt

from clip_assets.index import ann, neighbours
from clip_assets.index.ann import Floats, Ids, Index, Selection
from clip_assets.index.exact import ExactVectors, Similar
from clip_assets.index.fast_lists import small_form
from clip_assets.index.neighbours import SAME, Neighbours
from clip_assets.index.reach import TARGETS, Effort, Reach, exact
from clip_assets.index.second_look import Look, best, cheapest, costs_of_row, counts

WANTED = 0.95
"""Recall for which the number of lists is written into an index, for tools that know no gap."""

FOLDS = 5
"""Parts of the queries, of which each tells what a gap finds that the others chose."""

SEARCHED = 512
"""Queries that are searched for, to know what codes lose of what the lists hold."""

ALIKE = 1e-4
"""Similarities this close are the same: copies of an image stand for each other."""

MIN_QUERIES = 20
"""With fewer queries there is nothing to calibrate by, and every list is looked into."""

ROUNDS = 3
"""Gaps tried for a recall with a number of candidates: codes lose some of what lists hold, and
more lists make up for it."""

SAME_SHARE = 1e-3
"""Shares of neighbours this close are reached by the same gap."""

SOME = 6
"""Numbers of candidates that are compared at first, and five more while the last is the best."""

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
    """The k nearest vectors of each query, best first.

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
        return ann.search(index, queries, k, effort.gap, selected)
    candidates = max(effort.candidates, 2 * k)
    similarities, ids = ann.search(index, queries, candidates, effort.gap, selected)
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
        gaps, ranks = self._distances()
        self._gaps, self._ranks = np.where(exists, gaps, 0), np.where(exists, ranks, 1)

    def first(self, k: int) -> Self:
        """The same of the k nearest alone."""
        fewer = copy(self)
        fewer._truth = self._truth[:, :k]
        fewer._gaps, fewer._ranks = self._gaps[:, :k], self._ranks[:, :k]
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
        """``SEARCHED`` of the queries, or all."""
        return slice(None, None, max(1, len(self.queries) // SEARCHED))

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
        """So many of the nearest lists hold ``WANTED`` of the true neighbours."""
        return int(np.quantile(self._ranks, WANTED, method="higher")) if self._ranks.size else 1

    def scanned(self, gaps: Sequence[float], sizes: npt.NDArray[np.int64]) -> list[float]:
        """Share of all vectors that lie in lists within each gap; the mean of the sample."""
        looked_at = [0] * len(gaps)
        queries = self.queries[self.sample]
        for start in range(0, len(queries), _BATCH):
            scores = ann.centroid_scores(self._index, queries[start : start + _BATCH])
            best = scores.max(axis=1, keepdims=True)
            for place, gap in enumerate(gaps):
                looked_at[place] += int(((scores >= best - gap) @ sizes).sum())
        return [each / max(1, len(queries) * int(sizes.sum())) for each in looked_at]

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
            for place in range(theirs.shape[1]):
                # A list's rank is how many score at least as much.
                ranks[batch, place] = (scores >= theirs[:, place : place + 1]).sum(axis=1)
        return gaps, ranks


def _least_gap(gaps: Floats, share: float) -> float:
    return float(np.quantile(gaps, share, method="higher")) + ALIKE


class Meter:
    """Measures the index of one side of a version.

    Memory: for ``_BATCH`` queries similarities to all centres, and the vectors of candidates; codes
    that have a fast form, if they are few.

    Args:
        index: with all vectors.
        sizes: vectors in each list.
        exact: the vectors of the side.
    """

    def __init__(self, index: Index, sizes: npt.NDArray[np.int64], exact: ExactVectors) -> None:
        self._index, self._sizes, self._exact = small_form(index), sizes, exact

    def reach(self, question: Question, known: Sequence[Reach] = ()) -> list[Reach]:
        """For each of ``TARGETS`` how far to search, and what is then found.

        Args:
            question: of one kind.
            known: what was told of nearly the same index. What codes lose is taken from it, which
                spares the searches; what lists hold is not.
        """
        if len(question.queries) < MIN_QUERIES:
            return exact(question.k)
        before = {reach.target: reach for reach in known if reach.k == question.k}
        return [self._reach(question, target, before.get(target)) for target in TARGETS]

    def _reach(self, question: Question, target: float, known: Reach | None) -> Reach:
        if known is not None:
            loss, of_loss, candidates = known.lost, known.lost_variance, known.candidates
            lost_afar = known.lost_afar
        else:
            chosen = self._searched(question, target)
            loss, candidates = round(chosen.loss, 6), chosen.candidates
            of_loss = round(float(chosen.lost.var()) / len(chosen.lost), 9)
            fewest = counts(question.k, self._index)[:1]
            if candidates not in fewest:
                [chosen] = self._looks(question, min(1.0, target + loss), fewest)
            lost_afar = round(chosen.loss, 6)
        share = min(1.0, target + loss) if abs(loss) >= SAME_SHARE else target
        gap, held = question.gap(share), question.within_gap_of_others(share)
        variance = held.var() / len(held) + of_loss
        return Reach(
            target=target,
            gap=round(gap, 5),
            recall=round(min(1.0, float(held.mean()) - loss), 4),
            uncertainty=round(1.96 * float(variance) ** 0.5, 4),
            scanned=round(question.scanned([gap], self._sizes)[0], 6),
            k=question.k,
            lost=loss,
            lost_variance=of_loss,
            candidates=candidates,
            lost_afar=lost_afar,
        )

    def _searched(self, question: Question, target: float) -> Look:
        """The second look by which a recall costs least, at the gap that goes with it."""
        tried = counts(question.k, self._index)
        share, top = target, SOME
        chosen = self._cheapest(question, target, share, tried[:top])
        while chosen.candidates == tried[:top][-1] and top < len(tried):
            top += SOME - 1
            chosen = self._cheapest(question, target, share, tried[:top])
        left = ROUNDS
        while left and abs((wanted := min(1.0, target + chosen.loss)) - share) >= SAME_SHARE:
            # Never fewer again: then this would come to no end.
            least = tried.index(chosen.candidates)
            share, chosen = (
                wanted,
                self._cheapest(question, target, wanted, tried[least : least + 2]),
            )
            left = left - 1 if chosen.candidates == tried[least] else ROUNDS
        return chosen

    def _cheapest(
        self, question: Question, target: float, share: float, tried: Sequence[int]
    ) -> Look:
        """Of some numbers of candidates that by which a recall costs least."""
        looks = self._looks(question, share, tried)
        gaps = [question.gap(min(1.0, target + one.loss)) for one in looks]
        scanned = question.scanned(gaps, self._sizes)
        vectors = [each * int(self._sizes.sum()) for each in scanned]
        return cheapest(looks, target, vectors, costs_of_row(self._index))

    def _looks(self, question: Question, share: float, tried: Sequence[int]) -> list[Look]:
        """What codes lose, in shares of its neighbours, for each query of the sample.

        Less than nothing, where another vector stands for one that lies too far away.
        """
        gap = question.gap(share)
        held = question.within(gap)[question.sample]
        recalls = self._recalls(question, gap, tried)
        return [Look(most, held - own) for most, own in zip(tried, recalls, strict=True)]

    def _recalls(self, question: Question, gap: float, tried: Sequence[int]) -> list[Floats]:
        """Recall of each query of the sample, without its own pair, by numbers of candidates."""
        queries, own = question.queries[question.sample], question.own[question.sample]
        known = question.known[question.sample]
        least = question.least[question.sample] - ALIKE
        right = np.zeros((len(tried), len(queries)), np.int64)
        for start in range(0, len(queries), _BATCH):
            batch = slice(start, start + _BATCH)
            most = min(tried[-1], self._index.ntotal)
            _, ids = ann.search(self._index, queries[batch], most, gap)
            similar = self._exact.similarities(queries[batch], ids)
            is_near = similar >= least[batch, None]
            is_own = is_near & (np.abs(similar - own[batch, None]) <= SAME)
            for place, some in enumerate(tried):
                true = np.minimum(is_near[:, :some].sum(axis=1), question.k + 1)
                right[place, batch] = true - is_own[:, :some].any(axis=1)
        share = np.minimum(right, known) / np.maximum(known, 1)
        return list(np.where(known, share, 1).astype(np.float32))
