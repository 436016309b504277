"""Byte ranges of files in a bucket or behind a web server, asked for at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem

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


def read(uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of each of some ranges of one file; see ``read_all``."""
    return read_all([FarRange(uri, *each) for each in ranges])


def read_all(ranges: Sequence[FarRange]) -> list[bytes]:
    """The bytes of each range; all files on one server.

    Raises:
        SourceChangedError: a file has become shorter.
        SourceError: one cannot be read; ``SourceMissingError``: it is no longer there.
    """
    if not ranges:
        return []
    fs, _ = filesystem(ranges[0].uri)
    path_of = {uri: filesystem(uri)[1] for uri in {each.uri for each in ranges}}
    paths = [path_of[each.uri] for each in ranges]
    starts, stops = [each.start for each in ranges], [each.stop for each in ranges]
    with translated(ranges[0].uri):
        # By default a fault would stand among the bytes.
        answers: list[Any] = fs.cat_ranges(paths, starts, stops, on_error="raise")  # pyright: ignore[reportUnknownMemberType]
    for asked, answer in zip(ranges, answers, strict=True):
        _check(asked, len(answer))
    return answers


def _check(asked: FarRange, found: int) -> None:
    expected = asked.stop - asked.start
    if found > expected:
        raise SourceError(
            asked.uri,
            f"{found:,} bytes where {expected:,} were asked for",
            "a server that knows ranges",
            "Copy the files here, or serve them by one that does.",
        )
    if found < expected:
        raise SourceChangedError(
            asked.uri,
            f"{found:,} bytes where {expected:,} should be",
            "the file as when it was opened",
            "Open it again.",
        )
