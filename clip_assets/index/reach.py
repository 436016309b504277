"""How far searches of an index version go, as its manifest tells it.

Calibrated and measured in ``index.recall``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clip_assets.errors import ConfigurationError

TARGETS = (0.9, 0.95, 0.99)
"""Recall that a search can be asked for."""

EVERYTHING = 2.0
"""A gap that no list of unit vectors lies beyond."""

DEFAULT = 0.95
"""Recall that a search has if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a search for a recall goes, and what it was measured to find.

    Args:
        target: recall that is asked for.
        gap: between the nearest list's centre and the farthest that is looked into.
        recall: of the ten nearest, measured on queries the gap was not chosen by.
        uncertainty: half of the 95 % interval of ``recall``.
        scanned: share of the vectors that were looked at.
    """

    target: float
    gap: float
    recall: float
    uncertainty: float
    scanned: float


Reaches = dict[str, dict[str, list[Reach]]]
"""By side of the index, then by kind of query: one for each of ``TARGETS``, ascending."""

EXACT = [Reach(target, EVERYTHING, 1.0, 0.0, 1.0) for target in TARGETS]
"""Of an exact index."""


def for_target(reaches: Sequence[Reach], target: float) -> Reach:
    """The reach of the next recall that is not less than what is asked for.

    Raises:
        ConfigurationError: it is more than searches can be asked for.
    """
    enough = [reach for reach in reaches if reach.target >= target]
    if not enough:
        raise ConfigurationError(
            "recall_target",
            f"{target:g}",
            f"at most {reaches[-1].target:g}",
            "Ask for less, or raise index.flat_limit: an exact index finds everything.",
        )
    return enough[0]
