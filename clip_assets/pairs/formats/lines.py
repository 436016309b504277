"""Text sources row by row, whatever is wrong with them: lines, and the records made of them.

DuckDB reads clean csv files many times faster and is asked first, see ``reading``. What is read
here is what it does not: mixed line ends, bytes that are no UTF-8, lines without end; and here
alone the line of every row that is rejected is known.

Memory: one record of at most ``MAX_RECORD_BYTES`` and the lines that it was made of.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from clip_assets.pairs.formats.dialect import ENCODING_BYTES, encoding_of

MAX_RECORD_BYTES = 2_000_000
"""Of one row with its line ends, DuckDB's own default; a longer one is rejected."""

_CHUNK_BYTES = 1 << 20
# A file of nothing else ends in seconds, because many blank lines in a row are one piece.
_LINE = {
    False: re.compile(rb"\n{64,}|(?:\r\n){64,}|[^\n]*\n|[^\n]+"),
    True: re.compile(rb"[\r\n]{64,}|[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"),
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
class Line:
    """A line of a source, or many blank ones in a row; ``text`` is cut short if it is too long."""

    number: int
    text: str
    was_repaired: bool = False
    is_too_long: bool = False


def marked_lines(file: IO[bytes]) -> Iterator[Line]:
    """Lines of a file whose first bytes say its encoding."""
    encoding = encoding_of(file.read(ENCODING_BYTES))
    file.seek(0)
    return lines(file, encoding, ends_with_cr=True, with_blank=False)


def lines(
    file: IO[bytes], encoding: str, *, ends_with_cr: bool, with_blank: bool = True
) -> Iterator[Line]:
    """Lines with their ends, in bounded memory.

    Args:
        file: at its start.
        encoding: see ``dialect.encoding_of``.
        ends_with_cr: whether a carriage return alone ends a line.
        with_blank: whether blank lines are wanted; without them a file of nothing else ends soon.
    """
    number, rest, skipping = 0, b"", False
    ends = (b"\n", b"\r") if ends_with_cr else (b"\n", b"\r\n")
    for chunk in _utf8(file, encoding):
        if not (with_blank or rest or skipping or chunk.strip() or chunk.endswith(b"\r")):
            number += _count(chunk)
            continue
        # A carriage return at the end of a chunk may be half of a line end.
        pieces = _LINE[ends_with_cr].findall(rest + chunk)
        rest = b""
        if pieces and not pieces[-1].endswith(b"\n"):
            is_blank = ends_with_cr and pieces[-1].startswith(ends)
            blank = pieces[-1][:-1] if is_blank else b""
            rest = pieces.pop().removeprefix(blank)
            pieces += [blank] if blank else []
        for piece in pieces:
            if not skipping:
                yield _line(number + 1, piece)
            number += (_count(piece) if piece.startswith(ends) else 1) - skipping
            skipping = False
        if len(rest) > MAX_RECORD_BYTES:
            if not skipping:
                number += 1
                yield _line(number, rest)
            skipping, rest = True, b""
    if rest and not skipping:
        yield _line(number + 1, rest)


def _count(blank: bytes) -> int:
    """How many lines there are in one or more blank ones."""
    return blank.count(b"\n") + blank.count(b"\r") - blank.count(b"\r\n")


def _line(number: int, content: bytes) -> Line:
    if len(content) > MAX_RECORD_BYTES:
        return Line(number, content[:1000].decode("utf-8", "replace"), is_too_long=True)
    text, was_repaired = decoded(content)
    return Line(number, text, was_repaired)


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


def too_long(line: Line) -> Reject:
    """The reject of a line that ``is_too_long``."""
    return Reject(line.number, f"line of more than {MAX_RECORD_BYTES:,} bytes", line.text)
