"""Headers of many tar members at once, as rows of arrays; like ``tar_headers``, of one.

Only the form that nearly all writers use, of digits in all of their places: what is plain here is
plain there too, but not the other way around.
"""

import numpy as np
import numpy.typing as npt

from clip_assets.webdataset.tar_headers import CHECKSUM, NAME_BYTES, header_of

Numbers = npt.NDArray[np.int64]

Truths = npt.NDArray[np.bool_]

Blocks = npt.NDArray[np.uint8]
"""(n, HEADER)"""

Names = npt.NDArray[np.uint8]
"""(n, NAME_BYTES), zeros behind a shorter one."""

PLACES = np.arange(NAME_BYTES, dtype=np.int16)
"""Of the letters of a name."""

_SIZE, _TYPE, _PREFIX = slice(124, 135), 156, 345
_DIGITS = slice(148, 154)
_WEIGHTS = 8 ** np.arange(10, -1, -1, dtype=np.int64)

_EMPTY = np.frombuffer(header_of(b"", 0), np.uint8)
_EMPTY_SUM = int(_EMPTY.sum()) - int(_EMPTY[CHECKSUM].sum()) + 8 * ord(" ")


def plain_headers(headers: Blocks) -> tuple[Names, Numbers, Truths]:
    """Names and sizes of plain files, and which headers are of one.

    Args:
        headers: (n, HEADER)

    Returns:
        Names, sizes in bytes and the truth; of a header that is not plain, anything.
    """
    names = headers[:, :NAME_BYTES]
    is_plain = (headers[:, _TYPE] == ord("0")) | (headers[:, _TYPE] == 0)
    is_plain &= headers[:, _PREFIX] == 0
    is_letter = names != 0
    ends = NAME_BYTES - is_letter[:, ::-1].argmax(1)
    is_plain &= is_letter[:, 0] & (is_letter.sum(1) == ends)
    is_plain &= names[np.arange(len(names)), ends - 1] != ord("/")
    sizes, is_number = _octal(headers[:, _SIZE])
    told, is_sum = _octal(headers[:, _DIGITS])
    behind = headers[:, _DIGITS.stop : CHECKSUM.stop]
    is_plain &= is_number & is_sum & ((behind == 0) | (behind == ord(" "))).all(1)
    # The checksum is taken with blanks in its own place.
    sums = _sums(headers) - headers[:, CHECKSUM].sum(1, dtype=np.int64) + 8 * ord(" ")
    return names, sizes, is_plain & (sums == told)


def headers_of(names: Names, sizes: Numbers) -> Blocks:
    """(n, HEADER) headers, each as ``header_of`` makes it.

    Args:
        names: (n, NAME_BYTES)
        sizes: (n,) in bytes, each less than ``SIZE_LIMIT``.
    """
    headers = np.repeat(_EMPTY[None], len(names), 0)
    headers[:, :NAME_BYTES] = names
    digits = _digits(sizes, _SIZE.stop - _SIZE.start)
    headers[:, _SIZE] = digits
    zeros = (_SIZE.stop - _SIZE.start) * ord("0")
    sums = names.sum(1, dtype=np.int64) + digits.sum(1, dtype=np.int64) + _EMPTY_SUM - zeros
    headers[:, _DIGITS] = _digits(sums, _DIGITS.stop - _DIGITS.start)
    return headers


def first_dots(names: Names) -> npt.NDArray[np.int16]:
    """(n,) places of the first dots behind all slashes; NAME_BYTES where there is none.

    Args:
        names: as wide as the longest one, or wider.
    """
    dots = names == ord(".")
    slashes = names == ord("/")
    if slashes.any():
        width = names.shape[1]
        last = np.where(slashes.any(1), width - 1 - slashes[:, ::-1].argmax(1), -1)
        dots &= PLACES[:width] > last[:, None]
    return np.where(dots.any(1), dots.argmax(1), NAME_BYTES).astype(np.int16)


def in_lower_case(names: Names) -> Names:
    """Names without A to Z."""
    return np.where((names >= ord("A")) & (names <= ord("Z")), names | 0x20, names)


def _octal(digits: npt.NDArray[np.uint8]) -> tuple[Numbers, Truths]:
    """Numbers, and which rows are one."""
    values = digits - np.uint8(ord("0"))
    weights = _WEIGHTS[-values.shape[1] :]
    return (values * weights).sum(1), (values < 8).all(1)


def _digits(numbers: Numbers, count: int) -> npt.NDArray[np.uint8]:
    shifts = 3 * np.arange(count - 1, -1, -1)
    return ((numbers[:, None] >> shifts & 7) + ord("0")).astype(np.uint8)


def _sums(headers: Blocks) -> Numbers:
    """Of the bytes of each row; by eights, as numpy adds bytes one by one."""
    eights = np.ascontiguousarray(headers).view(np.uint64)
    low = np.uint64(0x00FF00FF00FF00FF)
    pairs = ((eights & low) + ((eights >> np.uint64(8)) & low)).sum(1, dtype=np.uint64)
    # Four sums of 16 bits each, at most 64 * 510.
    return pairs.view(np.uint16).reshape(-1, 4).sum(1, dtype=np.int64)
