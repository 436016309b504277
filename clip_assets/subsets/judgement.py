"""What is said of rows: how often each is listed, and why the others are not.

Verdicts are put together here; methods make them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]
"""(n,) one for each row."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a method says of the rows of a table.

    Args:
        times: (n,) int64, how often each row is listed; 0 for those that are not.
        dropped: by reason, (n,) bool of the rows that are not listed for it; each of them has one.
    """

    times: npt.NDArray[np.int64]
    dropped: Mapping[str, Mask]

    @property
    def kept(self) -> Mask:
        """(n,) bool of the rows that are listed."""
        return self.times > 0


def as_arrow(mask: Mask) -> "pa.Array[Any]":
    """A mask for tables; ``pyarrow.array`` would load pandas, which takes as long as a choice."""
    bits = pa.py_buffer(np.packbits(mask, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, bits])


def passing(count: int, rules: Mapping[str, Mask]) -> Judgement:
    """Rows that pass every rule, once each; the others for the first rule that they fail.

    Args:
        count: rows.
        rules: by the reason for which it drops rows, (count,) bool of those that pass.
    """
    kept = np.ones(count, dtype=bool)
    dropped: dict[str, Mask] = {}
    for reason, passes in rules.items():
        dropped[reason] = kept & ~passes
        kept &= passes
    return Judgement(kept.astype(np.int64), dropped)


def within(candidates: Judgement, chosen: Judgement) -> Judgement:
    """Candidates that are chosen: as often as both together say."""
    times = candidates.times * chosen.times
    return Judgement(times, both(candidates, chosen).dropped)


def both(first: Judgement, second: Judgement) -> Judgement:
    """Rows that both list, as often as the one that lists them less often."""
    dropped = dict(first.dropped)
    for reason, rows in second.dropped.items():
        dropped[reason] = dropped.get(reason, False) | (rows & first.kept)
    return Judgement(np.minimum(first.times, second.times), dropped)


def either(first: Judgement, second: Judgement) -> Judgement:
    """Rows that one of them lists, as often as the one that lists them more often."""
    times = np.maximum(first.times, second.times)
    return Judgement(times, {reason: rows & (times == 0) for reason, rows in first.dropped.items()})


def without(first: Judgement, second: Judgement) -> Judgement:
    """Rows that the first lists and the second does not."""
    taken = first.kept & second.kept
    dropped = dict(first.dropped)
    dropped["in_another"] = dropped.get("in_another", False) | taken
    return Judgement(np.where(taken, 0, first.times), dropped)
