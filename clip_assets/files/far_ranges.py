"""Byte ranges of files in a bucket or behind a web server, asked for at once."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import WEB, filesystem
from clip_assets.files.identity import looked_at

NEIGHBOUR_BYTES = 32 << 10
"""Between two ranges that are better read as one."""


class FarRange(NamedTuple):
    """Some bytes of a file that has so many.

    Args:
        uri: of the file.
        start: the first.
        stop: behind the last.
    """

    uri: str
    start: int
    stop: int


class FarStretch(NamedTuple):
    """The bytes of a range, and of which file.

    Args:
        content: the bytes.
        size_bytes: of the whole file; 0 where that does not come with a range.
        etag: of the file; empty where that does not come with a range.
    """

    content: bytes
    size_bytes: int = 0
    etag: str = ""

    @property
    def is_told(self) -> bool:
        """Whether it is known by the answer which file it is: by those of web servers."""
        return bool(self.size_bytes and self.etag)

    def is_of(self, other: "FarStretch") -> bool:
        """Whether both are of one file, as far as both are told."""
        sizes = {self.size_bytes, other.size_bytes} - {0}
        return len(sizes) < 2 and len({self.etag, other.etag} - {""}) < 2


def tells(uri: str) -> bool:
    """Whether stretches of a file come with its size and version."""
    return uri.startswith(WEB)


def read(uri: str, ranges: Sequence[tuple[int, int]]) -> list[FarStretch]:
    """Some ranges of one file; see ``read_all``."""
    return read_all([FarRange(uri, *each) for each in ranges])


def read_all(ranges: Sequence[FarRange]) -> list[FarStretch]:
    """The bytes of each range; all files on one server.

    Raises:
        SourceChangedError: a file has become shorter.
        SourceError: one cannot be read, or not in parts; ``SourceMissingError``: it is no longer
            there.
    """
    if not ranges:
        return []
    uri = ranges[0].uri
    fs: Any = filesystem(uri)[0]
    path_of = {uri: filesystem(uri)[1] for uri in {each.uri for each in ranges}}
    paths = [path_of[each.uri] for each in ranges]
    with translated(uri):
        if tells(uri):
            asked = [f"bytes={each.start}-{each.stop - 1}" for each in ranges]
            told = fs.stretches(list(zip(paths, asked, strict=True)))
            answers = [FarStretch(*each) for each in told]
        else:
            places = [each.start for each in ranges], [each.stop for each in ranges]
            # By default a fault would stand among the bytes.
            answers = [FarStretch(each) for each in fs.cat_ranges(paths, *places, on_error="raise")]
    for each, answer in zip(ranges, answers, strict=True):
        _check(each, answer)
    return answers


def tail(uri: str, size_bytes: int) -> FarStretch:
    """The last bytes of a file, all of it if it is smaller; its size is told in any case.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    if tells(uri):
        # Not every server knows ranges from the end.
        with suppress(SourceError), translated(uri):
            fs: Any
            fs, path = filesystem(uri)
            stretch = FarStretch(*fs.stretches([(path, f"bytes=-{size_bytes}")])[0])
            if 0 < len(stretch.content) == min(size_bytes, stretch.size_bytes):
                return stretch
    size = looked_at(uri).size_bytes
    return read(uri, [(max(0, size - size_bytes), size)])[0]._replace(size_bytes=size)


def _check(asked: FarRange, answer: FarStretch) -> None:
    length, wanted = len(answer.content), asked.stop - asked.start
    if length != wanted:
        whole = f", in a file of {answer.size_bytes:,}" if answer.size_bytes else ""
        raise SourceChangedError(
            asked.uri,
            f"{length:,} bytes where {wanted:,} should be{whole}",
            "the file as when it was opened",
            "Open it again.",
        )
