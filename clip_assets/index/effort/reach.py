"""How far searches of an index version go, as its manifest tells it.

Calibrated and measured in ``effort.calibration``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from clip_assets.errors import ConfigurationError

TARGETS = (0.9, 0.95, 0.99)
"""Recall that a search can be asked for."""

RANKS = (1, 10, 100)
"""Of so many nearest it is known what is found of them; a search for another number has the reach
of the next larger one, or of the last."""

DEFAULT_RANK = 10
"""So many nearest are meant where nothing else is said."""

EVERYTHING = 2.0
"""A gap that no list of unit vectors lies beyond."""

DEFAULT = 0.95
"""Recall that a search has if nothing else is asked for."""

CANDIDATES = 200
"""Nearest by their codes, which whole vectors put in order, where their number is not calibrated;
twice as many as are asked for, if that is more."""

MOST_CANDIDATES = 6_400
"""At most so many are looked at again; twice as many as are asked for, if that is more."""


WIDER = 4
"""A further look asks for so many times the ids, and goes so many times as far,"""

NEAR = 0.01
"""or, from nowhere, as far as from here."""


class Effort(NamedTuple):
    """What a search takes upon itself.

    Args:
        gap: see ``ann.search``.
        candidates: nearest by their codes, which whole vectors put in order; twice as many as are
            asked for at least.
    """

    gap: float | None = None
    candidates: int = CANDIDATES

    @property
    def further(self) -> "Effort":
        """Of the next look, where this one gave too few."""
        return self._replace(gap=min(max(NEAR, self.gap or 0) * WIDER, EVERYTHING))


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a search for a recall goes, and what it was measured to find.

    Args:
        target: recall that is asked for.
        gap: between the nearest list's centre and the farthest that is looked into.
        recall: of the ``k`` nearest, measured on queries the gap was not chosen by.
        uncertainty: half of the 95 % interval of ``recall``.
        scanned: share of the vectors that were looked at.
        k: of so many nearest that is true; versions of earlier releases know ten alone.
        lost: share of the neighbours in the lists that codes lose all the same.
        lost_variance: of that, as a mean of some queries.
        candidates: nearest by their codes, which whole vectors put in order.
        lost_afar: the same as ``lost`` of a search from afar, which has fewer lists and candidates,
            see ``effort.afar``; None: it is not known.
    """

    target: float
    gap: float
    recall: float
    uncertainty: float
    scanned: float
    k: int = DEFAULT_RANK
    lost: float = 0.0
    lost_variance: float = 0.0
    candidates: int = CANDIDATES
    lost_afar: float | None = None

    @property
    def effort(self) -> Effort:
        """Of a search that goes so far."""
        return Effort(self.gap, self.candidates)

    @property
    def recall_afar(self) -> float | None:
        """What a search finds that goes so far from afar, with fewer candidates."""
        if self.lost_afar is None:
            return None
        return round(min(1.0, max(0.0, self.recall + self.lost - self.lost_afar)), 4)


Reaches = dict[str, dict[str, list[Reach]]]
"""By side of the index, then by kind of query: each of ``RANKS`` with each of ``TARGETS``."""


def exact(k: int) -> list[Reach]:
    """Of an exact index, for each of ``TARGETS``."""
    return [Reach(target, EVERYTHING, 1.0, 0.0, 1.0, k, lost_afar=0.0) for target in TARGETS]


EXACT = [reach for k in RANKS for reach in exact(k)]
"""Of an exact index."""


def for_target(reaches: Sequence[Reach], target: float, k: int = DEFAULT_RANK) -> Reach:
    """The reach of the next recall and rank that are not less than what is asked for.

    Args:
        reaches: of one side and one kind of query.
        target: recall that is asked for.
        k: results that are asked for; beyond the last rank it is that of the last.

    Returns:
        It, with the candidates for ``k`` results: between two ranks in proportion to a power of
        ``k``, beyond the last in proportion to it, at most ``MOST_CANDIDATES``.

    Raises:
        ConfigurationError: it is more than searches can be asked for.
    """
    ranks = sorted({reach.k for reach in reaches})
    rank = next((rank for rank in ranks if rank >= k), ranks[-1])
    of_rank = _enough(reaches, rank, target)
    below = [one for one in ranks if one < rank]
    before = _enough(reaches, below[-1], target) if below else of_rank
    return replace(of_rank, candidates=_between(before, of_rank, k))


def _enough(reaches: Sequence[Reach], rank: int, target: float) -> Reach:
    """Of a rank the reach of the next recall that is not less than a target."""
    of_rank = [reach for reach in reaches if reach.k == rank]
    enough = [reach for reach in of_rank if reach.target >= target]
    if not enough:
        raise ConfigurationError(
            "recall_target",
            f"{target:g}",
            f"at most {of_rank[-1].target:g}",
            "Ask for less, or raise index.flat_limit: an exact index finds everything.",
        )
    return enough[0]


def _between(before: Reach, after: Reach, k: int) -> int:
    """Candidates for k results, of which those of two ranks are known."""
    if k >= after.k:
        return max(after.candidates, min(MOST_CANDIDATES, after.candidates * k // after.k))
    if k <= before.k:
        return before.candidates
    part = math.log(k / before.k) / math.log(after.k / before.k)
    return math.ceil(before.candidates ** (1 - part) * after.candidates**part)


def of_search(
    kinds: Mapping[str, Sequence[Reach]], kind: str | None, target: float, k: int
) -> Reach:
    """The reach of a search among one side; the farthest, where it is not known what is asked by.

    Raises:
        ConfigurationError: the recall is more than searches can be asked for.
    """
    reaches = {name: for_target(known, target, k) for name, known in kinds.items()}
    if kind:
        return reaches[kind]
    farthest = max(reaches.values(), key=lambda reach: reach.gap)
    return replace(farthest, candidates=max(reach.candidates for reach in reaches.values()))
