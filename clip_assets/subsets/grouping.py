"""The place of each row in its group, best first: how caps and quotas are kept.

Records go to files by their group, so that one file is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILES = 64

RECORD = np.dtype([("group", "<u8"), ("score", "<f8"), ("draw", "<f8"), ("number", "<i8")])

Ranks = npt.NDArray[np.int32]


class Groups:
    """Rows by group. The disk has 32 bytes for each, memory what 1 / ``FILES`` of them take.

    Args:
        folder: an empty one for its files; who made it removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add(
        self,
        groups: npt.NDArray[np.uint64],
        scores: npt.NDArray[np.floating],
        draws: npt.NDArray[np.float64],
        numbers: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Take rows.

        Args:
            groups: (n,) of each.
            scores: (n,) the greater the earlier in its group; nan is last.
            draws: (n,) by which rows of equal scores are ordered.
            numbers: (n,) of them; None: in the order in which they come.
        """
        records = np.empty(len(groups), RECORD)
        records["group"], records["draw"] = groups, draws
        records["score"] = np.where(np.isnan(scores), -np.inf, scores)
        following = np.arange(self._count, self._count + len(groups))
        records["number"] = following if numbers is None else numbers
        self._count += len(groups)
        files = groups % np.uint64(FILES)
        for file in np.unique(files).tolist():
            with (self._folder / str(file)).open("ab") as records_of:
                records_of.write(records[files == file].tobytes())

    def ranks(self) -> Ranks:
        """(n,) how many rows of its group come before each."""
        ranks = np.zeros(self._count, np.int32)
        for records, begun in self._sorted():
            ranks[records["number"]] = np.arange(len(records)) - begun
        return ranks

    def put_firsts(self, into: npt.NDArray[np.int64]) -> int:
        """Put the number of its group's first row in the place of each row's number.

        Returns:
            Rows that are not the first of their group.
        """
        others = 0
        for records, begun in self._sorted():
            into[records["number"]] = records["number"][begun]
            others += int(np.count_nonzero(begun != np.arange(len(records))))
        return others

    def _sorted(self) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
        """Records of some groups, each group in order, and the place of each one's first."""
        for file in sorted(self._folder.iterdir()):
            records = np.fromfile(file, RECORD)
            order = np.lexsort((records["draw"], -records["score"], records["group"]))
            records = records[order]
            group = records["group"]
            is_first = np.ones(len(group), np.bool_)
            is_first[1:] = group[1:] != group[:-1]
            starts = np.flatnonzero(is_first)
            yield records, np.repeat(starts, np.diff(np.append(starts, len(group))))
