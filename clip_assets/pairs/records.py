"""Text sources read row by row, whatever is wrong with them.

DuckDB reads clean csv files many times faster and is asked first, see ``staging``. This reader
takes what it does not: mixed line ends, broken quoting, bytes that are no UTF-8, lines without
end; and it alone knows the line of every row that is rejected. It also reads jsonl and txt.

Memory: one record of at most ``MAX_RECORD_BYTES`` and the lines that it was made of.
"""

import codecs
import csv
import json
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from clip_assets.pairs.dialect import Dialect, encoding_of

MAX_RECORD_BYTES = 2_000_000
"""Of one row with its line ends, DuckDB's own default; a longer one is rejected."""

_CHUNK_BYTES = 1 << 20
_LINE = {
    False: re.compile(rb"[^\n]*\n|[^\n]+"),
    True: re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"),
}
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Args:
        line: where it begins, counted from 1.
        values: by column name; None where there is nothing.
        was_repaired: some bytes were no UTF-8 and were read as Windows-1252.
    """

    line: int
    values: dict[str, str | None]
    was_repaired: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be read."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    was_repaired: bool = False
    is_too_long: bool = False


def csv_records(file: IO[bytes], dialect: Dialect) -> Iterator[Record | Reject]:
    """Rows of a csv file; each is a record or the reason why not."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    waiting = deque[_Line]()
    lines = _lines(file, dialect.encoding, ends_with_cr=dialect.ends_with_cr)
    is_header = dialect.has_header
    for first in _with_pushed_back(lines, waiting):
        if first.is_too_long:
            yield _too_long(first)
            continue
        taken, row = _row(first, lines, waiting, dialect)
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


def jsonl_records(file: IO[bytes]) -> Iterator[Record | Reject]:
    """Rows of a jsonl file; nested values are kept as json."""
    for line in _marked_lines(file):
        if line.is_too_long:
            yield _too_long(line)
        elif line.text.strip():
            try:
                found = json.loads(line.text)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                values = {str(name): _json_text(value) for name, value in found.items()}
                yield Record(line.number, values, line.was_repaired)
            else:
                yield Reject(line.number, "no json object", line.text)


def txt_records(file: IO[bytes]) -> Iterator[Record | Reject]:
    """Rows of a file with one url per line."""
    for line in _marked_lines(file):
        if line.is_too_long:
            yield _too_long(line)
        elif line.text.strip():
            yield Record(line.number, {"url": line.text.strip()}, line.was_repaired)


def _row(
    first: _Line, lines: Iterator[_Line], waiting: deque[_Line], dialect: Dialect
) -> tuple[list[_Line], list[str] | None]:
    """The row that begins with a line, and every line that was read for it; None if broken."""
    taken = [first]
    if not dialect.quoted or '"' not in first.text:
        text = first.text.removesuffix("\n").removesuffix("\r")
        return taken, text.split(dialect.delimiter) if text else []

    def feed() -> Generator[str]:
        yield first.text
        size = len(first.text)
        for line in _with_pushed_back(lines, waiting):
            taken.append(line)
            size += len(line.text)
            if size > MAX_RECORD_BYTES or line.is_too_long:
                raise csv.Error
            yield line.text

    try:
        return taken, next(csv.reader(feed(), delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return taken, None


def _with_pushed_back(lines: Iterator[_Line], waiting: deque[_Line]) -> Iterator[_Line]:
    while True:
        if waiting:
            yield waiting.popleft()
        elif (line := next(lines, None)) is not None:
            yield line
        else:
            return


def _marked_lines(file: IO[bytes]) -> Iterator[_Line]:
    """Lines of a file whose byte order mark, if it has one, says its encoding."""
    encoding = encoding_of(file.read(2))
    file.seek(0)
    return _lines(file, encoding, ends_with_cr=True)


def _lines(file: IO[bytes], encoding: str, *, ends_with_cr: bool) -> Iterator[_Line]:
    """Lines with their ends, in bounded memory."""
    number, rest, skipping = 0, b"", False
    for chunk in _utf8(file, encoding):
        # A carriage return at the end of a chunk may be half of a line end.
        pieces = _LINE[ends_with_cr].findall(rest + chunk)
        rest = pieces.pop() if pieces and not pieces[-1].endswith(b"\n") else b""
        for piece in pieces:
            number += not skipping
            if not skipping:
                yield _line(number, piece)
            skipping = False
        if len(rest) > MAX_RECORD_BYTES:
            if not skipping:
                number += 1
                yield _line(number, rest)
            skipping, rest = True, b""
    if rest and not skipping:
        yield _line(number + 1, rest)


def _line(number: int, content: bytes) -> _Line:
    if len(content) > MAX_RECORD_BYTES:
        return _Line(number, content[:1000].decode("utf-8", "replace"), is_too_long=True)
    text, was_repaired = decoded(content)
    return _Line(number, text, was_repaired)


def decoded(content: bytes) -> tuple[str, bool]:
    """Bytes as text; those that are no UTF-8 as Windows-1252, and whether there were some."""
    try:
        return content.decode(), False
    except UnicodeDecodeError:
        escaped = content.decode("utf-8", "surrogateescape")
        return _ESCAPED.sub(_windows_1252, escaped), True


def _windows_1252(escaped: re.Match[str]) -> str:
    return bytes([ord(escaped[0]) - 0xDC00]).decode("cp1252", "replace")


def _utf8(file: IO[bytes], encoding: str) -> Iterable[bytes]:
    if encoding == "utf-8":
        start = file.read(_CHUNK_BYTES)
        yield start.removeprefix(b"\xef\xbb\xbf")
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    while chunk := file.read(_CHUNK_BYTES):
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _too_long(line: _Line) -> Reject:
    return Reject(line.number, f"line of more than {MAX_RECORD_BYTES:,} bytes", line.text)


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
