"""Memory of large files and images goes back to the system when they are done with."""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager

LARGE_BYTES = 2**20
"""A block of this size or more is the system's again as soon as it is free."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc calls the size from which on a free end of a heap is given back, and the one from
which on a block is no part of a heap."""

LATER_BYTES = 2**25
"""Where glibc's own limits end in a process that has had large blocks."""


@contextmanager
def large_blocks_given_back() -> Generator[None]:
    """For the time of the block glibc keeps no large free blocks; other libraries do as they do.

    Otherwise every thread keeps what its largest image took, and the room of bodies that came at
    the same time stays in pieces: several times what is in use.
    """
    _set(LARGE_BYTES)
    try:
        yield
    finally:
        _set(LATER_BYTES)


def _set(size: int) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_THRESHOLD, size)
        library.mallopt(M_TRIM_THRESHOLD, 2 * size)
