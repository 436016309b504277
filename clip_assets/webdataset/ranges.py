"""Bytes of tars by place, each read whole or refused.

What is read is told from what stands there now: the header before a member has to be the one that
the index was made from. Which places there are is said by ``tar_index``.
"""

import os
import tarfile
from collections.abc import Mapping

from fsspec.implementations.local import LocalFileSystem

from clip_assets.files.fetching import tried
from clip_assets.files.filesystem import filesystem
from clip_assets.webdataset.index import Place, readable
from clip_assets.webdataset.tar_headers import plain

HEADER = tarfile.BLOCKSIZE
"""Bytes of the header that stands right before a member's content."""

LARGE = 8 << 30
"""Bytes that the number in a header does not hold; the size is said before it."""

GAP_BYTES = 64 << 10
"""Bytes between two wanted stretches that are rather read than asked for twice."""


def read_places(uri: str, places: Mapping[str, Place]) -> dict[str, bytes] | None:
    """Some members of a tar.

    Args:
        uri: of the tar.
        places: by the members' names.

    Returns:
        Contents by name; None where the tar is not the one in which these places were found.

    Raises:
        OSError: it cannot be read, or one of ``files.faults.faults()``.
    """
    if not places:
        return {}
    ordered = sorted(places.items(), key=lambda item: item[1].offset)
    contents: dict[str, bytes] = {}
    while ordered:
        near = [ordered.pop(0)]
        while ordered and _start(ordered[0][1]) - _stop(near[-1][1]) <= GAP_BYTES:
            near.append(ordered.pop(0))
        start = _start(near[0][1])
        block = memoryview(read_range(uri, start, _stop(near[-1][1]) - start))
        for name, place in near:
            begin = place.offset - start
            content = bytes(block[begin : begin + place.size])
            header = bytes(block[begin - HEADER : begin])
            if len(content) != place.size or not _is_header(header, name, place):
                return None
            contents[name] = content
    return contents


def read_range(uri: str, start: int, size: int) -> bytes:
    """Bytes of a file, fewer where it ends before.

    Args:
        uri: of the file.
        start: the first, from 0.
        size: how many.

    Raises:
        OSError: it cannot be read, or one of ``files.faults.faults()``.
    """
    # What begins so is local: asking fsspec takes as long as reading a sample.
    fs, path = (None, uri) if uri.startswith("/") else filesystem(uri)
    if fs is None or isinstance(fs, LocalFileSystem):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _pread(file, start, size)
        finally:
            os.close(file)
    return tried(lambda: bytes(fs.cat_file(path, start=start, end=start + size)))  # pyright: ignore[reportArgumentType]


def _pread(file: int, start: int, size: int) -> bytes:
    """Linux reads at most 2 GiB at once."""
    parts = [os.pread(file, size, start)]
    if len(parts[0]) == size:
        return parts[0]
    while parts[-1] and (got := sum(map(len, parts))) < size:
        parts.append(os.pread(file, size - got, start + got))
    return b"".join(parts)


def _start(place: Place) -> int:
    return place.offset - HEADER


def _stop(place: Place) -> int:
    return place.offset + place.size


def _is_header(header: bytes, name: str, place: Place) -> bool:
    """Whether a header is of this member; of long and foreign names it has only a part."""
    told = plain(header) or _of_any_form(header)
    if told is None or (told[1] != place.size and place.size < LARGE):
        return False
    # Extensions are in lower case in an index.
    is_told_whole = name.isascii() and "?" not in name and len(name) < 100
    own = told[0].decode(tarfile.ENCODING, "surrogateescape")
    return not is_told_whole or readable(own).lower() == name.lower()


def _of_any_form(header: bytes) -> tuple[bytes, int] | None:
    try:
        member = tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return None
    return member.name.encode(tarfile.ENCODING, "surrogateescape"), member.size
