"""Rows of csv files that are not clean: broken quoting, rows of the wrong length, odd lines."""

import csv
from collections import deque
from collections.abc import Generator, Iterator
from typing import IO, cast

from clip_assets.pairs.formats.dialect import Dialect
from clip_assets.pairs.formats.lines import (
    MAX_RECORD_BYTES,
    Line,
    Record,
    Reject,
    lines,
    too_long,
)


def csv_records(file: IO[bytes], dialect: Dialect) -> Iterator[Record | Reject]:
    """Rows of a csv file; each is a record or the reason why not."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    waiting = deque[Line]()
    source = lines(file, dialect.encoding, ends_with_cr=dialect.ends_with_cr)
    is_header = dialect.has_header
    for first in _with_pushed_back(source, waiting):
        if first.is_too_long:
            yield too_long(first)
            continue
        taken, row = _row(first, source, waiting, dialect)
        if row is None:
            waiting.extendleft(reversed(taken[1:]))
            yield Reject(first.number, "broken quoting", first.text)
        elif not row:
            continue
        elif is_header:
            is_header = False
        elif len(row) != len(dialect.columns):
            few = "few" if len(row) < len(dialect.columns) else "many"
            yield Reject(first.number, f"too {few} columns", first.text)
        else:
            repaired = any(line.was_repaired for line in taken)
            values = cast("dict[str, str | None]", dict(zip(dialect.columns, row, strict=True)))
            yield Record(first.number, values, repaired)


def _row(
    first: Line, source: Iterator[Line], waiting: deque[Line], dialect: Dialect
) -> tuple[list[Line], list[str] | None]:
    """The row that begins with a line, and every line that was read for it; None if broken."""
    taken = [first]
    if not dialect.quoted or '"' not in first.text:
        text = first.text.removesuffix("\n").removesuffix("\r")
        return taken, text.split(dialect.delimiter) if text else []

    def feed() -> Generator[str]:
        yield first.text
        size = len(first.text)
        for line in _with_pushed_back(source, waiting):
            taken.append(line)
            size += len(line.text)
            if size > MAX_RECORD_BYTES or line.is_too_long:
                raise csv.Error
            yield line.text

    try:
        return taken, next(csv.reader(feed(), delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return taken, None


def _with_pushed_back(source: Iterator[Line], waiting: deque[Line]) -> Iterator[Line]:
    while True:
        if waiting:
            yield waiting.popleft()
        elif (line := next(source, None)) is not None:
            yield line
        else:
            return
