"""Uids as text and as the pairs of integers that subset files hold.

Nothing here knows a file: those are read by ``storage.uid_files`` and written by
``subsets.choosing``.
"""

import string
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SchemaError
from clip_assets.storage import hex_digits

UidPairs = npt.NDArray[np.void]
"""(n,) of ``schemas.UID_PAIR``."""

Keys = npt.NDArray[np.bytes_]
"""(n,) 16 bytes that sort as the uids do, which pairs of integers do only slowly."""

DIGITS = 32
"""Hex digits of a uid."""

RADIX_ROWS = 2**12
"""From so many on, sorting by counting pays."""


def pairs(uids: pa.ChunkedArray, kept: npt.NDArray[np.bool_] | None = None) -> UidPairs:
    """Uids of 32 hex digits as pairs of integers, in the same order.

    Args:
        uids: (n,) texts.
        kept: (n,) those that are asked for; None for all. Digits of the others are not looked at.

    Raises:
        SchemaError: one of them is null or anything else.
    """
    read, start = [np.empty(0, np.uint8)], 0
    for chunk in uids.chunks:
        digits = _digits(chunk)
        own = digits if kept is None else digits[kept[start : start + len(chunk)]]
        start += len(chunk)
        try:
            read.append(hex_digits.unhexed(own.reshape(-1)))
        except ValueError as error:
            raise _no_uid(_first_other(own)) from error
    # The big-endian halves of the 16 bytes are the halves of the number.
    return np.concatenate(read).view(">u8").astype(np.uint64).view(schemas.UID_PAIR)


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
    # few begin like another.
    halves = np.ascontiguousarray(uids["f0"])
    order, beginnings = _by_beginning(halves) if len(uids) >= RADIX_ROWS else _by_half(halves)
    is_same = np.zeros(len(uids) + 1, dtype=bool)
    is_same[1:-1] = beginnings[1:] == beginnings[:-1]
    alike = np.flatnonzero(is_same[1:] | is_same[:-1])
    if len(alike):
        rows = order[alike]
        order[alike] = rows[np.lexsort((rows, uids["f1"][rows], uids["f0"][rows]))]
    return order


def _by_half(halves: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Rows by the first half, and the halves in this order."""
    order = np.argsort(halves)
    return order, halves[order]


def _by_beginning(halves: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Rows by the first 32 bits that are not the same in all, and these bits in this order."""
    differing = int(np.bitwise_or.reduce(halves ^ halves[0]))
    shift = np.uint64(max(differing.bit_length() - 32, 0))
    beginnings = (halves >> shift).astype(np.uint32)
    # Numpy sorts 16 bits by counting, which takes a third of the time.
    order = np.argsort(beginnings.astype(np.uint16), kind="stable")
    order = order[np.argsort((beginnings >> 16).astype(np.uint16)[order], kind="stable")]
    return order, beginnings[order]


def _digits(uids: pa.Array) -> npt.NDArray[np.uint8]:
    """(n, 32) the digits as they are in memory.

    Raises:
        SchemaError: a uid is null or of another length.
    """
    if uids.null_count:
        raise _no_uid("null")
    offsets, content = uids.buffers()[1:]
    if not len(uids) or offsets is None:
        return np.empty((0, DIGITS), np.uint8)
    is_large = pa.types.is_large_string(uids.type)
    ends = np.frombuffer(memoryview(offsets), np.int64 if is_large else np.int32)
    ends = ends[uids.offset : uids.offset + len(uids) + 1]
    others = np.flatnonzero(np.diff(ends) != DIGITS)
    if len(others) or content is None:
        raise _no_uid(repr(uids[int(others[0])].as_py()))
    return np.frombuffer(memoryview(content), np.uint8)[ends[0] : ends[-1]].reshape(-1, DIGITS)


def _first_other(digits: npt.NDArray[np.uint8]) -> str:
    """The first text that is not of hex digits alone."""
    texts = (bytes(row).decode(errors="replace") for row in digits)
    return repr(next(text for text in texts if not set(text) <= set(string.hexdigits)))


def _no_uid(found: str) -> SchemaError:
    return SchemaError(
        "uid", found, f"{DIGITS} hex digits", "Give the pool's rows uids of 128 bits, or none."
    )
