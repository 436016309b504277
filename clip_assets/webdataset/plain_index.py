"""The members of a tar of plain headers alone, as columns: the fast way to an index.

In Python only the walk from header to header is done one by one. Any other tar, damaged ones too,
is the matter of ``index``, which takes every form and says what is wrong.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from clip_assets.webdataset.index import END
from clip_assets.webdataset.tar_blocks import (
    PLACES,
    Blocks,
    Names,
    Numbers,
    Truths,
    first_dots,
    in_lower_case,
    plain_headers,
)
from clip_assets.webdataset.tar_headers import HEADER, NAME_BYTES, padded

WINDOW_BYTES = 4096
"""Read at once: the headers behind an image lie close together, with a short json and caption."""

_TOGETHER = 512
"""Headers looked at together; they fit into a processor's cache."""

_SIZE, _OCTAL = slice(124, 135), b"01234567"
_MOST = 64
"""Members of a sample, of more of which nothing is known here."""


@dataclass(frozen=True)
class PlainMembers:
    """The members of a tar.

    Args:
        starts: (n + 1,): sample i has the members from ``starts[i]`` to ``starts[i + 1]``.
        key: (members,) of each one's sample.
        extension: (members,) in lower case.
        offset: (members,) of the content, in bytes.
        size: (members,) likewise.
    """

    starts: Numbers
    key: pa.StringArray
    extension: pa.StringArray
    offset: Numbers
    size: Numbers


def plain_members(file: BinaryIO) -> PlainMembers | None:
    """The members of a tar; None if anything of it is not plain, or two have the same name.

    Args:
        file: the tar; it can seek.
    """
    names: list[Names] = []
    offsets: list[Numbers] = []
    sizes: list[Numbers] = []
    read = reader_of(file)
    for offset, headers in _headers(read):
        name, size, is_plain = plain_headers(headers)
        if not is_plain.all() or (name >= 0x80).any():
            return None
        names.append(name.copy())
        offsets.append(offset + HEADER)
        sizes.append(size)
    end = int(offsets[-1][-1]) + padded(int(sizes[-1][-1])) if names else 0
    if read(end, HEADER) != END or not names:
        return None
    return _members(np.concatenate(names), np.concatenate(offsets), np.concatenate(sizes))


def _members(names: Names, offset: Numbers, size: Numbers) -> PlainMembers | None:
    length = np.char.str_len(names.view(f"S{NAME_BYTES}").reshape(-1)).astype(np.int16)
    width = int(length.max())
    names, places = np.ascontiguousarray(names[:, :width]), PLACES[:width]
    dot = np.minimum(first_dots(names), length)
    is_stem = places < dot[:, None]
    stems = np.where(is_stem, names, 0).view(f"S{width}").reshape(-1)
    is_first = np.ones(len(stems), np.bool_)
    is_first[1:] = stems[1:] != stems[:-1]
    starts = np.append(np.flatnonzero(is_first), len(stems))
    is_end = (places > dot[:, None]) & (places < length[:, None])
    ends = in_lower_case(np.where(is_end, names, 0))
    most = int(np.diff(starts).max())
    sample, extensions = np.cumsum(is_first), ends.view(f"S{width}").reshape(-1)
    for further in range(1, min(most, _MOST)):
        is_same = sample[further:] == sample[:-further]
        if (is_same & (extensions[further:] == extensions[:-further])).any():
            return None
    if most > _MOST:
        return None
    return PlainMembers(starts, _strings(names, is_stem), _strings(ends, is_end), offset, size)


def reader_of(file: BinaryIO) -> Callable[[int, int], bytes]:
    """Reads so many bytes from an offset on, fewer at the end; of local files by one system call.

    Where the file stands is then any place.
    """
    try:
        number = file.fileno()
    except (OSError, AttributeError):  # in memory, or behind a url

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return read
    pread = os.pread
    return lambda offset, size: pread(number, size, offset)


def _headers(read: Callable[[int, int], bytes]) -> Iterator[tuple[Numbers, Blocks]]:
    """Headers with their offsets, some thousand at once, up to one that has no size."""
    offset = start = 0
    window = b""
    offsets: list[int] = []
    headers: list[bytes] = []
    while True:
        at = offset - start
        if at + HEADER > len(window):
            window, start, at = read(offset, WINDOW_BYTES), offset, 0
        header = window[at : at + HEADER]
        digits = header[_SIZE]
        if not digits or digits.strip(_OCTAL):
            break
        offsets.append(offset)
        headers.append(header)
        offset += HEADER + padded(int(digits, 8))
        if len(headers) == _TOGETHER:
            yield np.array(offsets), _blocks(headers)
            offsets, headers = [], []
    if headers:
        yield np.array(offsets), _blocks(headers)


def _blocks(headers: list[bytes]) -> Blocks:
    # The last one may be cut; then it is not plain.
    joined = b"".join(headers).ljust(len(headers) * HEADER, b"\0")
    return np.frombuffer(joined, np.uint8).reshape(-1, HEADER)


def _strings(names: Names, is_part: Truths) -> pa.StringArray:
    """A part of each name."""
    ends = np.concatenate([[0], np.cumsum(is_part.sum(1))]).astype(np.int32)
    buffers = (pa.py_buffer(ends.data), pa.py_buffer(names[is_part].data))
    return pa.StringArray.from_buffers(len(names), *buffers)
