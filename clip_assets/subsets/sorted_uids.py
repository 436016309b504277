"""Sorted uids that are asked which of others they have: an adopted subset, a list, scores by uid.

They stay on the disk; what is asked is sorted, so each stretch of them is looked at once.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.storage.uids import UidPairs, keys
from clip_assets.subsets.sorting import Records, Sorter

BLOCK_ROWS = 2**18
"""Looked at together."""

Places = npt.NDArray[np.int64]


class SortedUids:
    """Records in the order of their uids.

    Args:
        records: (n,) sorted; may be mapped from a file.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self._firsts = keys(records[::BLOCK_ROWS])

    def find(self, asked: UidPairs) -> tuple[Places, Places]:
        """Where uids are, and how often.

        Args:
            asked: (m,) in any order.

        Returns:
            (m,) place of the first record that has the uid, of no meaning where none has it; and
            (m,) how many have it.
        """
        places, times = np.zeros(len(asked), np.int64), np.zeros(len(asked), np.int64)
        wanted = keys(asked)
        order = np.argsort(wanted)
        in_order = wanted[order]
        # Equal uids may begin in the block before the one that begins with them.
        blocks = np.maximum(np.searchsorted(self._firsts, in_order, "right") - 1, 0)
        firsts = np.maximum(np.searchsorted(self._firsts, in_order, "left") - 1, 0)
        for block in range(len(self._firsts)):
            start = np.searchsorted(blocks, block, "left")
            end = np.searchsorted(firsts, block, "right")
            if start == end:
                continue
            stored = keys(self.records[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS])
            left = np.searchsorted(stored, in_order[start:end], "left")
            right = np.searchsorted(stored, in_order[start:end], "right")
            rows = order[start:end]
            is_new = (right > left) & (times[rows] == 0)
            places[rows[is_new]] = block * BLOCK_ROWS + left[is_new]
            times[rows] += right - left
        return places, times


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


def stored(sorter: Sorter, file: Path, dtype: npt.DTypeLike) -> SortedUids:
    """The records of a sorter, in a file."""
    with file.open("wb") as part:
        for block in sorter.blocks():
            part.write(block.tobytes())
    if not sorter.rows:
        return SortedUids(np.empty(0, dtype))
    return SortedUids(np.memmap(file, dtype, "r"))
