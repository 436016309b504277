"""A new local file whose bytes go to the disk past the cache of pages, if the system can.

For large files that whoever writes them does not read again: writing costs less, and what others
have in the cache stays there. See docs/decisions/0064-shards-are-written-past-the-cache.md.
"""

import errno
import fcntl
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK_BYTES = 4096
"""Places and lengths of what is written are multiples of it; disks want 512 or 4096."""

BUFFER_BYTES = 8 << 20

COPIED_BYTES = 1 << 20


class UncachedFile:
    """An unfinished file that is appended to; by one thread.

    Args:
        path: where; what is there is replaced.
        is_cached: whether bytes stay in the cache nevertheless.
    """

    def __init__(self, path: Path, *, is_cached: bool = False) -> None:
        self._flag = 0 if is_cached else getattr(os, "O_DIRECT", 0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | self._flag, 0o666)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._flag:
                raise
            self._flag = 0
            self._file = os.open(path, flags, 0o666)
        # Its address is a multiple of a page, which such writes need.
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._filled = 0

    def __enter__(self) -> Self:
        """The file is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left, unless something failed, and close it."""
        try:
            if error is None:
                self.flush()
        finally:
            os.close(self._file)

    def write(self, content: bytes | memoryview) -> int:
        """Append bytes; how many."""
        rest = memoryview(content)
        while rest:
            part = rest[:COPIED_BYTES]
            self.room(len(part))[:] = part
            self.fill(len(part))
            rest = rest[len(part) :]
        return len(content)

    def room(self, size: int) -> memoryview:
        """Where the next bytes may be put, to be appended by ``fill``; at most half a buffer."""
        if self._filled + size > BUFFER_BYTES:
            self._write(self._filled - self._filled % BLOCK_BYTES)
        return self._view[self._filled : self._filled + size]

    def fill(self, size: int) -> None:
        """Append bytes that were put into the room."""
        self._filled += size

    def tell(self) -> int:
        """Bytes so far."""
        return os.lseek(self._file, 0, os.SEEK_CUR) + self._filled

    def flush(self) -> None:
        """Write what was appended; the rest goes through the cache, as it is of any length."""
        self._cache()
        self._write(self._filled)

    def fileno(self) -> int:
        """Its descriptor. Who appends by it flushes before."""
        return self._file

    def _write(self, size: int) -> None:
        """Write the first bytes of the buffer; the others become the first."""
        at = 0
        while at < size:
            try:
                count = os.write(self._file, self._view[at:size])
            except OSError as error:
                if error.errno != errno.EINVAL or not self._flag:
                    raise
                self._cache()  # of a file system that only seemed to know it
                continue
            at += count
            if count % BLOCK_BYTES:
                self._cache()  # of a disk that is full, or the end
        left = self._filled - size
        self._view[:left] = self._view[size : self._filled]
        self._filled = left

    def _cache(self) -> None:
        """Write through the cache from here on."""
        if self._flag:
            fcntl.fcntl(self._file, fcntl.F_SETFL, os.O_WRONLY)
            self._flag = 0
