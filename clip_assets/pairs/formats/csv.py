"""Rows of csv files that are not clean: broken quoting, rows of the wrong length, odd lines.

A quote that is never closed runs on to the next quote of the file, often many rows later, and what
is between them would vanish in a value. So a quoted value ends, as broken, before a line that is a
row by itself. Tables with tabs are mostly written without any quoting, as those of CC3M and CC12M
are: there a quote that does not fit is a character.
"""

import csv
import re
from collections import deque
from collections.abc import Generator, Iterator
from typing import IO, cast

from clip_assets.pairs.formats.dialect import Dialect, is_url
from clip_assets.pairs.formats.lines import (
    MAX_RECORD_BYTES,
    Line,
    Record,
    Reject,
    lines,
    too_long,
)

BROKEN_QUOTING = "broken quoting"
"""Why a row is no pair whose quotes do not fit."""

NO_VALUE = "\\N"
"""How MySQL writes null in a file where backslashes escape."""

READ_TWICE = 4 * MAX_RECORD_BYTES
"""Characters read again for nothing, more than were read once, after which a quoted value ends
with its line: a file where every line seems to open one costs a few times its length."""


class _LinesAhead:
    """Lines of a source, of which some are put back because they are no part of a row."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._waiting = deque[Line]()
        self._once = 0
        self._again = 0

    def __iter__(self) -> Iterator[Line]:
        while True:
            if self._waiting:
                yield self._waiting.popleft()
            elif (line := next(self._source, None)) is not None:
                self._once += len(line.text)
                yield line
            else:
                return

    @property
    def may_run_on(self) -> bool:
        """Whether a quoted value may have more than a line."""
        return self._again <= READ_TWICE + self._once

    def put_back(self, taken: list[Line]) -> None:
        """Lines after the first of a row that was none."""
        self._again += sum(len(line.text) for line in taken[1:])
        self._waiting.extendleft(reversed(taken[1:]))

    def drop(self, taken: list[Line]) -> None:
        """Lines that were put back, and are part of the row after all."""
        for _ in taken[1:]:
            self._waiting.popleft()


def csv_records(file: IO[bytes], dialect: Dialect) -> Iterator[Record | Reject]:
    """Rows of a csv file; each is a record or the reason why not."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    source = _LinesAhead(lines(file, dialect.encoding, ends_with_cr=dialect.ends_with_cr))
    is_header = dialect.has_header
    for first in source:
        if first.is_too_long:
            yield too_long(first)
            continue
        taken, row = _row(first, source, dialect)
        if row is None:
            yield Reject(first.number, BROKEN_QUOTING, first.text)
        elif not row:
            continue
        elif is_header:
            is_header = False
        elif len(row) != len(dialect.columns):
            few = "few" if len(row) < len(dialect.columns) else "many"
            yield Reject(first.number, f"too {few} columns", first.text)
        else:
            repaired = any(line.was_repaired for line in taken)
            yield Record(first.number, _values(row, dialect), repaired)


def _values(row: list[str], dialect: Dialect) -> dict[str, str | None]:
    values = cast("dict[str, str | None]", dict(zip(dialect.columns, row, strict=True)))
    if dialect.escape == "\\":
        return {name: None if value == NO_VALUE else value for name, value in values.items()}
    return values


def _row(first: Line, source: _LinesAhead, dialect: Dialect) -> tuple[list[Line], list[str] | None]:
    """The row that begins with a line, and the lines that are its own; None if broken."""
    plain = _plain(first, dialect)
    if not dialect.quoted or '"' not in first.text:
        return [first], plain
    width = len(dialect.columns)
    taken, row = _quoted(first, source, dialect, dialect.escape)
    if row is not None and len(row) == width:
        return taken, row
    source.put_back(taken)
    if '\\"' in first.text:
        others, other = _quoted(first, source, dialect, "\\")
        if other is not None and len(other) == width:
            return others, other
        source.put_back(others)
    if dialect.delimiter == "\t" and len(plain) == width:
        return [first], plain
    if row is None:
        return [first], None
    source.drop(taken)
    return taken, row


def _plain(line: Line, dialect: Dialect) -> list[str]:
    """The values of a line whose quotes are characters."""
    text = line.text.removesuffix("\n").removesuffix("\r")
    return text.split(dialect.delimiter) if text.strip("\r\n") else []


def _quoted(
    first: Line, source: _LinesAhead, dialect: Dialect, escape: str
) -> tuple[list[Line], list[str] | None]:
    """The row that begins with a line, by its quotes, and every line that was read for it."""
    taken = [first]

    def feed() -> Generator[str]:
        yield _escaped(first.text, dialect.delimiter, escape)
        size = len(first.text)
        is_row = _is_row(first, dialect)
        for line in source if source.may_run_on else ():
            taken.append(line)
            size += len(line.text)
            swallowed = is_row and _is_row(line, dialect)
            if size > MAX_RECORD_BYTES or line.is_too_long or swallowed:
                raise csv.Error
            yield _escaped(line.text, dialect.delimiter, escape)

    escaped_by = None if escape == '"' else escape
    reader = csv.reader(feed(), delimiter=dialect.delimiter, strict=True, escapechar=escaped_by)
    try:
        return taken, next(reader)
    except csv.Error:
        return taken, None


def _is_row(line: Line, dialect: Dialect) -> bool:
    """Whether a line is a whole row with a url, if quotes that it does not close are ignored."""
    if not line.text.strip():
        return False
    ways = _plain(line, dialect), next(csv.reader([line.text], delimiter=dialect.delimiter))
    return any(len(way) == len(dialect.columns) and any(map(is_url, way)) for way in ways)


def _escaped(text: str, delimiter: str, escape: str) -> str:
    """A line in which a backslash is a character unless it stands before a sign of the format."""
    if escape == '"' or escape not in text:
        return text
    return re.sub(rf'\\(["\\\r\n{re.escape(delimiter)}])|\\', _kept_or_doubled, text)


def _kept_or_doubled(backslash: re.Match[str]) -> str:
    return backslash[0] if backslash[1] else "\\\\"
