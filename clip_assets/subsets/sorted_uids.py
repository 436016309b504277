"""Sorted uids that are asked which of others they have: an adopted subset, a list, scores by uid.

They stay on the disk, and are gone through once for all that is asked in order. Rows of candidates
are joined with them by ``matched_rows``.
"""

import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.storage.uids import UidPairs, keys, order_of
from clip_assets.subsets.sorting import Records, Sorter

BLOCK_ROWS = 2**18
"""Looked at together."""

Places = npt.NDArray[np.int64]

Halves = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Found:
    """Some of the uids that were asked for, which a stretch of sorted records has.

    Args:
        asked: (m,) their numbers among those that were asked for, ascending.
        places: (m,) of the first record of the stretch that has each.
        times: (m,) records of the stretch that have it.
    """

    asked: Places
    places: Places
    times: Places


class SortedUids:
    """Records in the order of their uids.

    Args:
        records: (n,) sorted; may be mapped from a file, in any order of bytes.
    """

    def __init__(self, records: Records) -> None:
        self.records = records

    def among(self, asked: UidPairs) -> Iterator[Found]:
        """Which of some uids it has, from the first to the last.

        Cost: the records between the first and the last of them are read, once. Equal records may
        lie in two stretches, which are then told one after the other.

        Args:
            asked: (m,) sorted.
        """
        if not len(asked):
            return
        wanted = np.ascontiguousarray(asked["f0"])
        count = len(self.records)
        start = bisect_left(range(count), int(wanted[0]), key=self._first_half)
        for first in range(start, count, BLOCK_ROWS):
            stretch = self.records[first : first + BLOCK_ROWS]
            halves = stretch["f0"].astype(np.uint64)
            if halves[0] > wanted[-1]:
                return
            low = int(np.searchsorted(wanted, halves[0], "left"))
            high = int(np.searchsorted(wanted, halves[-1], "right"))
            numbers, left, right = _among(stretch, halves, asked[low:high], wanted[low:high])
            if len(numbers):
                yield Found(low + numbers, first + left, right - left)

    def find(self, asked: UidPairs) -> tuple[Places, Places]:
        """Where uids are, and how often.

        Args:
            asked: (m,) in any order.

        Returns:
            (m,) place of the first record that has the uid, of no meaning where none has it; and
            (m,) how many have it.
        """
        places, times = np.zeros(len(asked), np.int64), np.zeros(len(asked), np.int64)
        order = order_of(asked)
        for hits in self.among(asked[order]):
            rows = order[hits.asked]
            is_new = times[rows] == 0
            places[rows[is_new]] = hits.places[is_new]
            times[rows] += hits.times
        return places, times

    def _first_half(self, place: int) -> int:
        return int(self.records[place]["f0"])


def _among(
    stretch: Records, halves: Halves, asked: UidPairs, wanted: Halves
) -> tuple[Places, Places, Places]:
    """Numbers of those that a stretch has, and from where to where it has each."""
    left = np.searchsorted(halves, wanted, "left")
    right = np.searchsorted(halves, wanted, "right")
    numbers = np.flatnonzero(right > left)
    left, right = left[numbers], right[numbers]
    rest, own = stretch["f1"].astype(np.uint64), asked["f1"][numbers]
    # As uids are digests, few have the same first half as another one; these are compared whole.
    mixed = np.flatnonzero(rest[left] != rest[right - 1])
    is_there = rest[left] == own
    if len(mixed):
        stored, whole = keys(stretch), keys(asked[numbers[mixed]])
        left[mixed] = np.searchsorted(stored, whole, "left")
        right[mixed] = np.searchsorted(stored, whole, "right")
        is_there[mixed] = right[mixed] > left[mixed]
    return numbers[is_there], left[is_there], right[is_there]


def is_sorted(records: Records) -> bool:
    """Whether records are in the order of their uids."""
    return all(_is_sorted(stretch) for stretch in _stretches(records))


def _stretches(records: Records) -> Iterator[Records]:
    for start in range(0, len(records), BLOCK_ROWS):
        yield records[start : start + BLOCK_ROWS + 1]


def _is_sorted(records: Records) -> bool:
    stored = keys(records)
    return bool(np.all(np.less_equal(stored[:-1], stored[1:])))


def distinct(records: Records) -> int:
    """How many uids sorted records have."""
    repeated = sum(
        int(np.count_nonzero(stretch[1:] == stretch[:-1]))
        for stretch in map(keys, _stretches(records))
    )
    return len(records) - repeated


def stored(sorter: Sorter, folder: Path, dtype: npt.DTypeLike) -> SortedUids:
    """The records of a sorter, in a file of a folder; who made that removes it."""
    # A name that was given before would be that of a file that is mapped.
    handle, file = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as part:
        for block in sorter.blocks():
            part.write(block.tobytes())
    if not sorter.rows:
        return SortedUids(np.empty(0, dtype))
    return SortedUids(np.memmap(file, dtype, "r"))
