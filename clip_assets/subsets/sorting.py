"""Uids in order, however many: in memory while they are few, else by way of files.

Uids are digests, so their first byte divides them evenly; each file is sorted in memory alone.
"""

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.storage import uids

Records = npt.NDArray[np.void]
"""(n,) with the fields of ``schemas.UID_PAIR``, and perhaps more."""

MEMORY_ROWS = 2**24
"""Up to so many wait in memory."""

BLOCK_ROWS = 2**16
"""Up to so many are sorted together; what is more is divided."""

BUCKETS = 256

WORKERS = 2
"""Threads that sort, while a third one writes."""

_SHIFT = np.uint64(56)
# What is left of the first half of a uid is its first byte.


class Sorter:
    """Takes records in any order and gives them in the order of their uids.

    Memory: ``MEMORY_ROWS`` records and what sorting some buckets takes. Uids that are no digests
    may all fall into one bucket, and take 48 bytes each.

    Args:
        folder: where its files may lie; who made it removes it.
        dtype: of the records.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike) -> None:
        self._folder = folder
        self._none: Records = np.zeros(0, np.dtype(dtype))  # pyright: ignore[reportAttributeAccessIssue]
        self._waiting: list[_Divided] = []
        self._waiting_rows = 0
        self._files: dict[int, Path] = {}
        self.rows = 0

    def add(self, records: Records) -> None:
        """Take records; equal uids keep the order in which they came."""
        if not len(records):
            return
        self._waiting.append(_divided(records))
        self._waiting_rows += len(records)
        self.rows += len(records)
        if self._waiting_rows >= MEMORY_ROWS:
            self._spill()

    @property
    def is_divided(self) -> bool:
        """Whether a block is all uids that begin with the same byte."""
        return bool(self._files) or self.rows > BLOCK_ROWS

    def blocks(self) -> Iterator[Records]:
        """All records in order, in blocks; equal uids are in the same one, and none is empty."""
        if not self.is_divided:
            if self.rows:
                yield uids.in_order(np.concatenate([one.records for one in self._waiting]))
            return
        if self._files:
            self._spill()
        with ThreadPoolExecutor(WORKERS, "clip-assets-sorting") as sorting:
            ahead: deque[Future[Records]] = deque()
            for bucket in range(BUCKETS):
                ahead.append(sorting.submit(self._sorted, bucket))
                if len(ahead) > 2 * WORKERS:
                    yield from _unless_empty(ahead.popleft().result())
            for block in ahead:
                yield from _unless_empty(block.result())

    def _sorted(self, bucket: int) -> Records:
        if self._files:
            file = self._files.get(bucket)
            content = file.read_bytes() if file else b""
            return uids.in_order(np.frombuffer(content, self._none.dtype))
        return uids.in_order(np.concatenate([one.of(bucket) for one in self._waiting]))

    @cached_property
    def _own(self) -> Path:
        """Files of others that were here before are not added to."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _spill(self) -> None:
        for bucket in range(BUCKETS):
            those = [own for one in self._waiting if len(own := one.of(bucket))]
            if those:
                file = self._files.setdefault(bucket, self._own / str(bucket))
                with file.open("ab") as content:
                    content.writelines(own.tobytes() for own in those)
        self._waiting, self._waiting_rows = [], 0


@dataclass(frozen=True, slots=True)
class _Divided:
    """Records by the first byte of their uids.

    Args:
        records: (n,) those of each byte in the order in which they came.
        ends: (BUCKETS + 1,) where those of a byte begin, and the next one's.
    """

    records: Records
    ends: npt.NDArray[np.int64]

    def of(self, bucket: int) -> Records:
        """Those of one byte."""
        return self.records[self.ends[bucket] : self.ends[bucket + 1]]


def _divided(records: Records) -> _Divided:
    # Of bytes a stable order is found by counting.
    buckets = (records["f0"] >> _SHIFT).astype(np.uint8)
    order = np.argsort(buckets, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(buckets, minlength=BUCKETS))])
    return _Divided(records[order], ends)


def _unless_empty(block: Records) -> Iterator[Records]:
    if len(block):
        yield block
