"""Byte ranges of a file in a bucket or behind a web server, asked for at once."""

from collections.abc import Sequence
from typing import Any

from clip_assets.errors import SourceChangedError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem

NEIGHBOUR_BYTES = 32 << 10
"""Between two ranges that are better read as one."""


def read(uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of each range.

    Args:
        uri: of the file.
        ranges: from where to where, the end not included; the file had so many bytes before.

    Raises:
        SourceChangedError: the file has become shorter.
        SourceError: it cannot be read; ``SourceMissingError``: it is no longer there.
    """
    fs, path = filesystem(uri)
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    with translated(uri):
        # By default a fault would stand among the bytes.
        answers: list[Any] = fs.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")  # pyright: ignore[reportUnknownMemberType]
    for (start, end), answer in zip(ranges, answers, strict=True):
        if len(answer) != end - start:
            raise SourceChangedError(
                uri,
                f"{len(answer):,} bytes where {end - start:,} should be",
                "the file as when it was opened",
                "Open it again.",
            )
    return answers
