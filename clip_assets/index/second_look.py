"""How many candidates of codes whole vectors put in order: as many as make a recall cheapest.

Codes lose a neighbour that is not among the candidates. For a recall there are more candidates, or
more lists, so that those they hold are more than is wanted. Which of both costs less is told by
what is lost with each number of candidates (measured by ``index.recall``) and by what both cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clip_assets.index import ann
from clip_assets.index.ann import Floats, Index
from clip_assets.index.reach import CANDIDATES, MOST_CANDIDATES

FEWEST = CANDIDATES // 2
"""At least so many are looked at again, and twice as many as are asked for."""

ROW = 50
"""Codes of one bit a dimension that are looked at in the time of one candidate: 15 to 27 ns each
where a whole vector of 512 dimensions took 0.9 microseconds."""

MOST_TIMES = 16
"""So many times the results may be looked at again, where that costs more than all codes do."""


@dataclass(frozen=True, slots=True)
class Look:
    """What codes lose.

    Args:
        candidates: so many nearest by their codes are looked at again.
        lost: (q,) share of its neighbours in the lists that each query loses all the same.
    """

    candidates: int
    lost: Floats

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.lost.mean())


def counts(k: int, index: Index) -> list[int]:
    """Numbers of candidates that may be, each twice the one before; one, if vectors are whole.

    Args:
        k: results that are asked for.
        index: with all vectors; no more candidates than it has are of use.
    """
    numbers = [max(FEWEST, 2 * k)]
    most = min(MOST_CANDIDATES, index.ntotal, max(MOST_TIMES * k, index.ntotal // ROW))
    while not ann.holds_whole(index) and 2 * numbers[-1] <= most:
        numbers.append(2 * numbers[-1])
    return numbers


def cheapest(looks: Sequence[Look], target: float, scanned: Sequence[float]) -> Look:
    """The one by which a recall costs least; that loses least, where none can find so much.

    Args:
        looks: with growing numbers of candidates.
        target: the recall.
        scanned: vectors in the lists that each has to look into, to make up for what it loses.
    """
    costs = {
        one.candidates: own + ROW * one.candidates for one, own in zip(looks, scanned, strict=True)
    }
    can = [one for one in looks if target + one.loss <= 1]
    if can:
        return min(can, key=lambda one: costs[one.candidates])
    return min(looks, key=lambda one: one.loss)
