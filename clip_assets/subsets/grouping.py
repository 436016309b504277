"""The place of each row in its group, best first: how caps and quotas are kept.

Records go to files by their group, so that one file is in memory at a time.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

FILES = 64

RECORD = np.dtype([("group", "<u8"), ("score", "<f8"), ("draw", "<f8"), ("number", "<i8")])

Ranks = npt.NDArray[np.int32]


class Groups:
    """Rows by group. The disk has 32 bytes for each, memory what 1 / ``FILES`` of them take.

    Args:
        folder: for its files; who made it removes it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._count = 0

    def add(
        self,
        groups: npt.NDArray[np.uint64],
        scores: npt.NDArray[np.floating],
        draws: npt.NDArray[np.float64],
    ) -> None:
        """Take rows, which are numbered in the order in which they come.

        Args:
            groups: (n,) of each.
            scores: (n,) the greater the earlier in its group; nan is last.
            draws: (n,) by which rows of equal scores are ordered.
        """
        records = np.empty(len(groups), RECORD)
        records["group"], records["draw"] = groups, draws
        records["score"] = np.where(np.isnan(scores), -np.inf, scores)
        records["number"] = np.arange(self._count, self._count + len(groups))
        self._count += len(groups)
        files = groups % np.uint64(FILES)
        for file in np.unique(files).tolist():
            with (self._folder / str(file)).open("ab") as records_of:
                records_of.write(records[files == file].tobytes())

    def ranks(self) -> Ranks:
        """(n,) how many rows of its group come before each."""
        ranks = np.zeros(self._count, np.int32)
        for file in sorted(self._folder.iterdir()):
            records = np.fromfile(file, RECORD)
            order = np.lexsort((records["draw"], -records["score"], records["group"]))
            group = records["group"][order]
            is_first = np.ones(len(group), np.bool_)
            is_first[1:] = group[1:] != group[:-1]
            starts = np.flatnonzero(is_first)
            begun = np.repeat(starts, np.diff(np.append(starts, len(group))))
            ranks[records["number"][order]] = np.arange(len(group)) - begun
        return ranks
