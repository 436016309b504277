"""Rows of txt files: one url in a line."""

from collections.abc import Iterator
from typing import IO

from clip_assets.pairs.formats.lines import Record, Reject, marked_lines, too_long


def txt_records(file: IO[bytes]) -> Iterator[Record | Reject]:
    """Rows of a file with one url per line."""
    for line in marked_lines(file):
        if line.is_too_long:
            yield too_long(line)
        elif line.text.strip():
            yield Record(line.number, {"url": line.text.strip()}, line.was_repaired)
