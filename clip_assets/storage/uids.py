"""Uids as text and as the pairs of integers that subset files hold.

Nothing here knows a file: those are read by ``storage.uid_files`` and written by
``subsets.choosing``.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SchemaError

UidPairs = npt.NDArray[np.void]
"""(n,) of ``schemas.UID_PAIR``."""

Keys = npt.NDArray[np.bytes_]
"""(n,) 16 bytes that sort as the uids do, which pairs of integers do only slowly."""

DIGITS = 32
"""Hex digits of a uid."""


def pairs(uids: pa.ChunkedArray) -> UidPairs:
    """Uids of 32 hex digits as pairs of integers, in the same order.

    Raises:
        SchemaError: one of them is null or anything else.
    """
    try:
        content = b"".join(_bytes(chunk) for chunk in uids.chunks)
    except ValueError as error:
        raise _no_uid(str(error)) from error
    if len(content) * 2 != len(uids) * DIGITS:  # fromhex skips white space
        raise _no_uid("white space or null")
    # The big-endian halves of the 16 bytes are the halves of the number.
    halves = np.frombuffer(content, dtype=">u8").reshape(-1, 2)
    numbers = np.empty(len(halves), dtype=schemas.UID_PAIR)
    numbers["f0"], numbers["f1"] = halves[:, 0], halves[:, 1]
    return numbers


def keys(uids: UidPairs) -> Keys:
    """Uids, or records that have one, as keys in the same order."""
    halves = np.empty((len(uids), 2), dtype=">u8")
    halves[:, 0], halves[:, 1] = uids["f0"], uids["f1"]
    return halves.view("S16").reshape(-1)


def texts(uids: UidPairs) -> list[str]:
    """Pairs of integers as uids of 32 lowercase hex digits, in the same order."""
    every = keys(uids).tobytes().hex()
    return [every[start : start + DIGITS] for start in range(0, len(every), DIGITS)]


def digits(uids: UidPairs) -> npt.NDArray[np.bytes_]:
    """(n,) the same uids as 32 bytes of lowercase hex digits each."""
    return np.frombuffer(keys(uids).tobytes().hex().encode(), f"S{DIGITS}")


def in_order(uids: UidPairs) -> UidPairs:
    """The same uids in ascending order of the 128-bit number, repeated ones kept."""
    return uids[order_of(uids)]


def order_of(uids: UidPairs) -> npt.NDArray[np.int64]:
    """(n,) rows of uids, or of records that have one, in ascending order of the 128-bit number.

    Rows of equal uids stay in their order.
    """
    # Comparing structured rows is far slower than sorting by a plain column; as uids are digests,
    # few have the same first half as another.
    halves = np.ascontiguousarray(uids["f0"])
    order = np.argsort(halves)
    halves = halves[order]
    is_same = np.zeros(len(uids) + 1, dtype=bool)
    is_same[1:-1] = halves[1:] == halves[:-1]
    alike = np.flatnonzero(is_same[1:] | is_same[:-1])
    if len(alike):
        rows = order[alike]
        order[alike] = rows[np.lexsort((rows, uids["f1"][rows], uids["f0"][rows]))]
    return order


def _bytes(uids: pa.Array) -> bytes:
    """16 bytes for each uid."""
    if uids.null_count:
        raise ValueError("null")
    fixed = uids.cast(pa.binary()).cast(pa.binary(DIGITS))
    content = fixed.buffers()[1]
    assert content is not None
    start = fixed.offset * DIGITS
    digits = memoryview(content)[start : start + len(fixed) * DIGITS]
    return bytes.fromhex(str(digits, "ascii"))


def _no_uid(found: str) -> SchemaError:
    return SchemaError(
        "uid", found, f"{DIGITS} hex digits", "Give the pool's rows uids of 128 bits, or none."
    )
