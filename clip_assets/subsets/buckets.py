"""Vectors by list, in files of some lists each: so that a list is read whole, one after the other.

Which list a vector is in, and what is done with those of a list, is the business of methods.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.storage.uids import UidPairs

BUCKET_BYTES = 2**30
"""Of a file, but for the last of its lists."""

RECORD = np.dtype(
    [("list", "<i4"), ("number", "<i8"), ("head", "<i8"), ("f0", "<u8"), ("f1", "<u8")]
)
"""Of a vector: its list, its number among all, that of its first twin, and its uid."""

Records = npt.NDArray[np.void]
Halves = npt.NDArray[np.float16]


class Buckets:
    """Vectors in files by ranges of lists.

    Memory: 16 bytes for each list; one file while it is read. The disk has all vectors.

    Args:
        folder: for the files; who made it removes it.
        sizes: (lists,) vectors of each.
        dim: of them.
    """

    def __init__(self, folder: Path, sizes: npt.NDArray[np.integer], dim: int) -> None:
        folder.mkdir()
        self._folder, self._dim = folder, dim
        bytes_of = sizes.astype(np.int64) * (2 * dim + RECORD.itemsize)
        self._bucket = (np.cumsum(bytes_of) - bytes_of) // BUCKET_BYTES

    def add(self, records: Records, images: Halves) -> None:
        """Take some vectors, (n,) of ``RECORD`` and (n, dim)."""
        of_each = self._bucket[records["list"]]
        for bucket in np.unique(of_each).tolist():
            is_here = of_each == bucket
            for file, rows in zip(self._files(bucket), (records, images), strict=True):
                with file.open("ab") as content:
                    content.write(rows[is_here].tobytes())

    def lists(self) -> Iterator[tuple[Records, Halves]]:
        """The records and vectors of one list after the other, by number in each."""
        for bucket in np.unique(self._bucket).tolist():
            file, vectors = self._files(bucket)
            if not file.exists():
                continue
            records = np.fromfile(file, RECORD)
            images = np.fromfile(vectors, np.float16).reshape(-1, self._dim)
            order = np.lexsort((records["number"], records["list"]))
            lists = records["list"][order]
            borders = np.flatnonzero(lists[1:] != lists[:-1]) + 1
            for rows in np.split(order, borders):
                yield records[rows], images[rows]

    def _files(self, bucket: int) -> tuple[Path, Path]:
        return self._folder / f"{bucket}.records", self._folder / f"{bucket}.f16"


def records_of(
    lists: npt.NDArray[np.int32],
    numbers: npt.NDArray[np.int64],
    heads: npt.NDArray[np.int64],
    pairs: UidPairs,
) -> Records:
    """Records of some vectors, (n,) of ``RECORD``, from (n,) of each."""
    records = np.empty(len(lists), RECORD)
    records["list"], records["number"], records["head"] = lists, numbers, heads
    records["f0"], records["f1"] = pairs["f0"], pairs["f1"]
    return records
