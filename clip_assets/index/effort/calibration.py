"""How far searches go for each recall, and what codes lose on the way.

A gap and a number of candidates are chosen together (``effort.second_look``) for the pool's own
queries, of which ``effort.recall`` knows the true neighbours and their lists, and
``effort.code_ranks`` where codes put them.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clip_assets.index.effort.afar import ListsAfar
from clip_assets.index.effort.code_ranks import CodeRanks, Scanned
from clip_assets.index.effort.found_afar import FoundAfar
from clip_assets.index.effort.neighbours import SAME
from clip_assets.index.effort.reach import TARGETS, Reach, exact
from clip_assets.index.effort.recall import ALIKE, Question
from clip_assets.index.effort.second_look import Look, cheapest, costs_of_row, counts
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Index
from clip_assets.index.engine.similar import Similar

ROUNDS = 3
"""Gaps tried for a recall with a number of candidates: codes lose some of what lists hold, and
more lists make up for it."""

SAME_SHARE = 1e-3
"""Shares of neighbours this close are reached by the same gap."""

SOME = 6
"""Numbers of candidates that are compared at first, and five more while the last is the best;
where one is known, those up to the next larger one."""

MIN_QUERIES = 20
"""With fewer queries there is nothing to calibrate by, and every list is looked into."""


class Meter:
    """Measures the index of one side of a version.

    Memory: what ``CodeRanks`` holds.

    Args:
        index: with all vectors.
        sizes: vectors in each list.
        exact: the vectors of the side.
    """

    def __init__(self, index: Index, sizes: npt.NDArray[np.int64], exact: Similar) -> None:
        self._index, self._sizes, self._exact = index, sizes, exact

    def reach(
        self, questions: Sequence[Question], known: Sequence[Reach] = (), grown: float | None = None
    ) -> list[Reach]:
        """For each question and each of ``TARGETS`` how far to search, and what is then found.

        Args:
            questions: of one kind, for some numbers of nearest.
            known: what was told of nearly the same index, of which the search has to find out
                less: as many candidates as were enough then are likely to be.
            grown: times the vectors that were there then. As many times as many stand before a
                neighbour in the order of codes, and so many times as much is lost: that spares
                the search, if not None. What lists hold is not taken from then.
        """
        told: list[Reach] = []
        asked, sample = np.empty((0, 0), np.float32), None
        for question in questions:
            if len(question.queries) < MIN_QUERIES:
                told += exact(question.k)
                continue
            if not np.array_equal(asked, question.queries[question.sample]):
                asked = question.queries[question.sample]
                sample = self._sample(asked, questions, known)
            assert sample is not None
            before = {reach.target: reach for reach in known if reach.k == question.k}
            told += [
                sample.reach(question, target, before.get(target), grown) for target in TARGETS
            ]
        return told

    def _sample(
        self, asked: Floats, questions: Sequence[Question], known: Sequence[Reach]
    ) -> "SearchedQueries":
        share, lists = (1 + max(TARGETS)) / 2, ann.inverted(self._index)
        assert lists is not None
        ranks = CodeRanks(self._index, self._exact, asked)
        numbers = counts(max(question.k for question in questions), self._index)
        most = max(known, key=lambda reach: reach.candidates, default=None)
        return SearchedQueries(
            Scanned(self._index, self._sizes, asked),
            ranks,
            FoundAfar(ranks, ListsAfar(self._sizes, lists.code_size)),
            self._index,
            max(question.gap(share) for question in questions),
            _first(numbers, most)[-1],
        )


def _first(numbers: Sequence[int], known: Reach | None) -> Sequence[int]:
    """Of numbers of candidates those that are compared at first."""
    return numbers[: SOME if known is None else bisect(numbers, known.candidates) + 1]


def _grown(reach: Reach, grown: float) -> Reach:
    """What codes lose of so many times the vectors."""
    lost, afar = reach.lost, reach.lost_afar
    return replace(
        reach,
        # Less than nothing is found in place of others, which more vectors do not change.
        lost=round(lost * grown, 6) if lost > 0 else lost,
        lost_variance=round(reach.lost_variance * grown, 9),
        lost_afar=round(afar * grown, 6) if afar and afar > 0 else afar,
    )


@dataclass(frozen=True, slots=True)
class SearchedQueries:
    """The queries that are searched for, to know what codes lose.

    Args:
        scanned: what they look at.
        ranks: where codes put their neighbours; nothing is searched until it is asked for.
        afar: what searches from afar find.
        index: that is searched.
        widest: gap that is likely to be asked for.
        most: candidates likewise.
    """

    scanned: Scanned
    ranks: CodeRanks
    afar: FoundAfar
    index: Index
    widest: float
    most: int

    def reach(
        self, question: Question, target: float, known: Reach | None, grown: float | None
    ) -> Reach:
        """How far to search for a recall, and what is then found; see ``Meter.reach``."""
        if known is not None and grown is not None:
            known = _grown(known, grown)
            loss, of_loss, candidates = known.lost, known.lost_variance, known.candidates
            lost_afar = known.lost_afar
        else:
            self.ranks.cover(self.widest, self.most)
            chosen = self._searched(question, target, known)
            loss, candidates = round(chosen.loss, 6), chosen.candidates
            of_loss = round(float(chosen.lost.var()) / len(chosen.lost), 9)
            own = question.gap(min(1.0, target + loss))
            there = self.afar.recalls(question, own, candidates)
            lost_afar = round(float((question.within(own)[question.sample] - there).mean()), 6)
        share = min(1.0, target + loss) if abs(loss) >= SAME_SHARE else target
        gap, held = question.gap(share), question.within_gap_of_others(share)
        variance = held.var() / len(held) + of_loss
        return Reach(
            target=target,
            gap=round(gap, 5),
            recall=round(min(1.0, float(held.mean()) - loss), 4),
            uncertainty=round(1.96 * float(variance) ** 0.5, 4),
            scanned=round(self.scanned.share(gap), 6),
            k=question.k,
            lost=loss,
            lost_variance=of_loss,
            candidates=candidates,
            lost_afar=lost_afar,
        )

    def _searched(self, question: Question, target: float, known: Reach | None) -> Look:
        """The second look by which a recall costs least, at the gap that goes with it."""
        tried = counts(question.k, self.index)
        share, top = target, len(_first(tried, known))
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
        looked_at = [self.scanned.share(gap) * self.index.ntotal for gap in gaps]
        return cheapest(looks, target, looked_at, costs_of_row(self.index))

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
        sample = question.sample
        own, known = question.own[sample], question.known[sample]
        places = self.ranks.places(gap, tried[-1])
        similar = self.ranks.similar
        queries, columns = np.nonzero(similar >= question.least[sample, None] - ALIKE)
        near = places[queries, columns]
        is_own = np.abs(similar[queries, columns] - own[queries]) <= SAME
        right: list[Floats] = []
        for some in tried:
            is_in = (near > 0) & (near <= some)
            true = np.bincount(queries[is_in], minlength=len(own))
            is_seen = np.bincount(queries[is_in & is_own], minlength=len(own)) > 0
            shared = np.minimum(np.minimum(true, question.k + 1) - is_seen, known)
            right.append(np.where(known, shared / np.maximum(known, 1), 1).astype(np.float32))
        return right
