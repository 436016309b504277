"""Headers of tar members, read and made from their bytes alone.

Only the plain form that webdatasets have, of a short name and a size in octal digits; of any other
the standard library has to be asked.
"""

import tarfile
import zlib

HEADER = tarfile.BLOCKSIZE
"""Bytes of a header; contents are filled up to a multiple of them."""

NAME_BYTES = 100
"""Of the longest name."""

SIZE_LIMIT = 1 << 33
"""Contents are shorter."""

CHECKSUM = slice(148, 156)
"""Where a header has the sum of its bytes."""

_SIZE, _TYPE, _PREFIX = slice(124, 135), 156, 345

_FILES = (0, ord("0"))


def _template() -> tuple[bytes, int]:
    info = tarfile.TarInfo()
    info.mode = 0o444
    info.uname = info.gname = "bigdata"
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    # The checksum is taken with blanks in its own place.
    header[CHECKSUM] = b" " * 8
    header[124:136] = b"\0" * 12
    return bytes(header), sum(header)


_TEMPLATE, _SUM = _template()


def header_of(name: bytes, size: int) -> bytes:
    """The header of a file of mode 0444 and time 0, as webdataset writes it.

    Args:
        name: at most ``NAME_BYTES``.
        size: bytes of the content, less than ``SIZE_LIMIT``.
    """
    assert len(name) <= NAME_BYTES, name
    header = bytearray(_TEMPLATE)
    digits = b"%011o" % size
    header[: len(name)] = name
    header[_SIZE] = digits
    header[CHECKSUM] = b"%06o\0 " % (_SUM + sum(name) + sum(digits))
    return bytes(header)


def plain(header: bytes) -> tuple[bytes, int] | None:
    """Name and size of a plain file's header, None for anything else.

    Args:
        header: ``HEADER`` bytes.
    """
    if len(header) != HEADER or header[_TYPE] not in _FILES or header[_PREFIX]:
        return None
    name = header[:NAME_BYTES].rstrip(b"\0")
    try:
        size = int(header[_SIZE], 8)
        told = int(header[CHECKSUM].partition(b"\0")[0], 8)
    except ValueError:
        return None
    # The low half of Adler's sum is 1 and the bytes, in a tenth of the time of adding them. The
    # checksum is taken with blanks in its own place.
    adler = zlib.adler32(header[CHECKSUM.stop :], zlib.adler32(header[: CHECKSUM.start]))
    total = (adler & 0xFFFF) - 1 + 8 * ord(" ")
    if (total - told) % 65521 or size < 0 or not name or name[-1] == ord("/") or 0 in name:
        return None
    return name, size


def padded(size: int) -> int:
    """Bytes that a content of ``size`` takes in a tar."""
    return size + -size % HEADER
