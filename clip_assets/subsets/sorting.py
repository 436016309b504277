"""Uids in order, however many: in memory while they are few, else by way of files.

Uids are digests, so their first byte divides them evenly; each file is sorted in memory alone.
"""

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.storage import uids

Records = npt.NDArray[np.void]
"""(n,) with the fields of ``schemas.UID_PAIR``, and perhaps more."""

MEMORY_ROWS = 2**22
"""Up to so many wait in memory."""

BUCKETS = 256

_SHIFT = np.uint64(56)
# What is left of the first half of a uid is its first byte.


class Sorter:
    """Takes records in any order and gives them in the order of their uids.

    Memory: ``MEMORY_ROWS`` records and what sorting one bucket takes. Uids that are no digests may
    all fall into one bucket, and take 48 bytes each.

    Args:
        folder: where its files may lie; who made it removes it.
        dtype: of the records.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike) -> None:
        self._folder = folder
        self._none: Records = np.zeros(0, np.dtype(dtype))  # pyright: ignore[reportAttributeAccessIssue]
        self._waiting: list[Records] = []
        self._waiting_rows = 0
        self._files: dict[int, Path] = {}
        self.rows = 0

    def add(self, records: Records) -> None:
        """Take records; equal uids keep the order in which they came."""
        self._waiting.append(records)
        self._waiting_rows += len(records)
        self.rows += len(records)
        if self._waiting_rows >= MEMORY_ROWS:
            self._spill()

    @property
    def is_spilled(self) -> bool:
        """Whether a block is all uids that begin with the same byte."""
        return bool(self._files)

    def blocks(self) -> Iterator[Records]:
        """All records in order, in blocks; equal uids are in the same one, and none is empty."""
        if not self._files:
            if self.rows:
                yield uids.in_order(self._joined())
            return
        self._spill()
        for bucket in sorted(self._files):
            content = self._files[bucket].read_bytes()
            yield uids.in_order(np.frombuffer(content, self._none.dtype))

    def _joined(self) -> Records:
        return np.concatenate([self._none, *self._waiting])

    @cached_property
    def _own(self) -> Path:
        """Files of others that were here before are not added to."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _spill(self) -> None:
        records = self._joined()
        # Of bytes a stable order is found by counting.
        buckets = (records["f0"] >> _SHIFT).astype(np.uint8)
        order = np.argsort(buckets, kind="stable")
        ends = np.cumsum(np.bincount(buckets, minlength=BUCKETS))
        for bucket, end in enumerate(ends.tolist()):
            start = ends[bucket - 1] if bucket else 0
            if end > start:
                file = self._files.setdefault(bucket, self._own / str(bucket))
                with file.open("ab") as part:
                    part.write(records[order[start:end]].tobytes())
        self._waiting, self._waiting_rows = [], 0
