"""How many candidates of codes whole vectors put in order: as many as make a recall cheapest.

Codes lose a neighbour that is not among the candidates. For a recall there are more candidates, or
more lists, so that those they hold are more than is wanted. Which of both costs less is told by
what is lost with each number of candidates (measured by ``effort.calibration``) and by what both
cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clip_assets.index.effort.reach import CANDIDATES, MOST_CANDIDATES
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index
from clip_assets.index.engine.fast_lists import has_fast_form

FEWEST = CANDIDATES // 8
"""At least so many are looked at again, and twice as many as are asked for."""

ROW, FAST_ROW = 20, 50
"""Codes that are looked at in the time of one candidate, which is 0.4 microseconds of a whole
vector of 512 dimensions: of one bit a dimension, 24 ns each, and in the fast form, 7 ns."""

MOST_SHARE = 50
"""At most one of so many vectors is a candidate,"""

MOST_TIMES = 16
"""or so many times the results, even where that costs more than all codes do."""


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
    """Numbers of candidates that may be, two in each doubling; one, if vectors are whole.

    Args:
        k: results that are asked for.
        index: with all vectors; no more candidates than it has are of use.
    """
    first = max(FEWEST, 2 * k)
    most = min(MOST_CANDIDATES, index.ntotal, max(MOST_TIMES * k, index.ntotal // MOST_SHARE))
    if ann.holds_whole(index):
        return [first]
    steps = [first << place // 2 for place in range(2 * MOST_CANDIDATES.bit_length())]
    numbers = [each * 3 // 2 if place % 2 else each for place, each in enumerate(steps)]
    return [each for each in numbers if each <= max(first, most)]


def costs_of_row(index: Index) -> int:
    """So many codes of an index are looked at in the time of one candidate."""
    return FAST_ROW if has_fast_form(index) else ROW


def best(similarities: Floats, ids: Ids, k: int) -> tuple[Floats, Ids]:
    """The k most similar of each row, best first, of equal ones the lower id; (q, n) each.

    So what is found with more results begins with what is found with fewer, as pages of results do.
    """
    if k < similarities.shape[1]:
        # Sorting all candidates takes as long as choosing lists does.
        some = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        similarities = np.take_along_axis(similarities, some, 1)
        ids = np.take_along_axis(ids, some, 1)
    order = np.argsort(-similarities, axis=1, kind="stable")
    similarities = np.take_along_axis(similarities, order, 1)
    ids = np.take_along_axis(ids, order, 1)
    alike = np.flatnonzero((similarities[:, 1:] == similarities[:, :-1]).any(axis=1))
    if len(alike):  # copies of an image
        order = np.lexsort((ids[alike], -similarities[alike]), axis=1)
        ids[alike] = np.take_along_axis(ids[alike], order, 1)
    return similarities, ids


def cheapest(
    looks: Sequence[Look], target: float, scanned: Sequence[float], row: int = ROW
) -> Look:
    """The one by which a recall costs least; that loses least, where none can find so much.

    Args:
        looks: with growing numbers of candidates.
        target: the recall.
        scanned: vectors in the lists that each has to look into, to make up for what it loses.
        row: see ``costs_of_row``.
    """
    costs = {
        one.candidates: own + row * one.candidates for one, own in zip(looks, scanned, strict=True)
    }
    can = [one for one in looks if target + one.loss <= 1]
    if can:
        return min(can, key=lambda one: costs[one.candidates])
    return min(looks, key=lambda one: one.loss)
