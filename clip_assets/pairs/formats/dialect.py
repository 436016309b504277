"""How a text source is written: encoding, delimiter, quoting, header; from its first bytes.

A header is recognised by the names in it, not by statistics: of the delimiters, the one that
yields most understood names is right. A file without a header is one whose first row holds a
url. For reading the rows see ``csv``.
"""

import codecs
import csv
import mmap
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_assets.errors import SourceFormatError
from clip_assets.pairs.columns import refuse_too_many

HEAD_BYTES = 1 << 20
"""Of a file that are looked at; a first line longer than this is no header."""

DELIMITERS = ",\t|;"

_LINE_END = re.compile(r"\r\n|\r|\n")
_ESCAPES_NOTHING = re.compile(rb'(?<!\\)(?:\\\\)*\\[^"\\]')
_SAMPLE_RECORDS = 20
_CONTROLS = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r\x1b"))
_MANY_CONTROLS = 4
_WINDOW_BYTES = 1 << 19
_STRIDE = 4096


ENCODING_BYTES = 4
"""By so many first bytes an encoding is told."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_ZEROS = {"a0a0": "utf-16-le", "0a0a": "utf-16-be", "a000": "utf-32-le", "000a": "utf-32-be"}
# Where the first bytes are zero.


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read one text file.

    Args:
        delimiter: between columns.
        quoted: whether ``"`` quotes; otherwise it is a character like others.
        escape: what stands before a quote inside of a quoted value: another one, or the backslash
            of Spark and MySQL.
        columns: names, from the header or by position; empty for a file without content.
        has_header: whether the first row is no data.
        encoding: see ``encoding_of``.
        ends_with_cr: whether a carriage return alone ends a line; where the first line ends
            otherwise, it is a character of a value.
    """

    delimiter: str
    quoted: bool
    columns: tuple[str, ...]
    has_header: bool
    encoding: str = "utf-8"
    ends_with_cr: bool = False
    escape: str = '"'


def detect(head: bytes, understood: Collection[str], where: str) -> Dialect:
    """The dialect of a csv file.

    Args:
        head: its first ``HEAD_BYTES``, or all of it.
        understood: column names in lower case that mean something.
        where: the file, for the error.

    Raises:
        SourceFormatError: there is no end of the first line, or there are too many columns.
    """
    encoding = encoding_of(head)
    text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = _LINE_END.split(text, 2 * _SAMPLE_RECORDS)
    if len(head) == HEAD_BYTES and len(lines) < 2:
        raise SourceFormatError(
            where,
            f"no line end in the first {HEAD_BYTES:,} bytes",
            "a header or a row in the first line",
            "This is no csv file of pairs; leave it out.",
        )
    lines = [line for line in lines if line.strip()][:_SAMPLE_RECORDS]
    if not lines:
        return Dialect(",", quoted=True, columns=(), has_header=False, encoding=encoding)
    delimiter = max(DELIMITERS, key=lambda sign: _fitness(lines, sign, understood))
    escape = _escape(lines, delimiter)
    first = _fields(lines[0], delimiter, escape)
    refuse_too_many(first, where)
    has_header = not any(map(is_url, first))
    names = first if has_header else _by_position(first)
    quoted = _is_quoted(lines, delimiter, escape)
    first_end = _LINE_END.search(text)
    ends_with_cr = first_end is not None and first_end[0] == "\r"
    return Dialect(delimiter, quoted, distinct(names), has_header, encoding, ends_with_cr, escape)


def encoding_of(start: bytes) -> str:
    """What a text is written in, in Python's words.

    Args:
        start: its first ``ENCODING_BYTES``; a byte order mark tells, or the zeros beside the first
            letters, which are ASCII in every table of pairs.
    """
    # The mark of UTF-32 begins with that of UTF-16.
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    zeros = "".join("a" if byte else "0" for byte in start[:ENCODING_BYTES])
    return _ZEROS.get(zeros, "utf-8")


def refuse_bytes(head: bytes, where: str) -> None:
    """Refuse what is no text: an archive, a picture, something encrypted.

    Args:
        head: its first ``HEAD_BYTES``, or all of it. Some control characters can be in a text,
            NULs too, which are removed.
        where: the file, for the error.

    Raises:
        SourceFormatError: it is no text.
    """
    if encoding_of(head) != "utf-8":
        return
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls >= _MANY_CONTROLS and controls * 50 > len(head):
        raise SourceFormatError(
            where,
            f"{controls:,} control characters in the first {len(head):,} bytes",
            "text",
            "Look at what it holds: perhaps it is compressed in another way, or encrypted.",
        )


def is_plain(path: Path, dialect: Dialect) -> bool:
    """Whether DuckDB reads a file as it is meant.

    It loses lines beyond its limit, rows after millions of blank lines, and backslashes that
    escape nothing, without a word.
    """
    if path.stat().st_size == 0:
        return True
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return (_has_plain_lines(content) and not _has_blank_stretch(content)) and (
            dialect.escape == '"' or not _ESCAPES_NOTHING.search(content)
        )


def _has_plain_lines(content: mmap.mmap) -> bool:
    # A line of two windows' length covers one of them.
    return all(
        content.find(b"\n", start, start + _WINDOW_BYTES) >= 0
        for start in range(0, len(content) - _WINDOW_BYTES, _WINDOW_BYTES)
    )


def _has_blank_stretch(content: mmap.mmap) -> bool:
    """Whether there are line ends and nothing else over two strides or more."""
    return any(
        content[start] in b"\r\n" and not content[start : start + _STRIDE].strip(b"\r\n")
        for start in range(0, len(content), _STRIDE)
    )


def _fitness(
    lines: Sequence[str], delimiter: str, understood: Collection[str]
) -> tuple[int, bool, int]:
    """Names understood in the first line, urls in it, columns that every row agrees on."""
    escape = _escape(lines, delimiter)
    records = [_fields(line, delimiter, escape) for line in lines]
    names = sum(name.strip().casefold() in understood for name in records[0])
    agreed = max(_agreed(records), _agreed(_rows(lines, delimiter, escape)))
    return names, any(map(is_url, records[0])), agreed


def _agreed(records: Sequence[Sequence[str]]) -> int:
    return len(records[0]) if len({len(record) for record in records}) == 1 else 0


def _rows(lines: Sequence[str], delimiter: str, escape: str) -> list[list[str]]:
    """Rows of one or more lines; the last may go on after the sample, and counts if it is alone."""
    text = (f"{line}\n" for line in lines)
    try:
        rows = list(csv.reader(text, delimiter=delimiter, escapechar=_escape_sign(escape)))
    except csv.Error:  # a field longer than the module's limit
        rows = []
    return rows[:-1] or rows or [[]]


def _fields(line: str, delimiter: str, escape: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, escapechar=_escape_sign(escape)))
    except csv.Error:  # a field longer than the module's limit
        return line.split(delimiter)


def _escape_sign(escape: str) -> str | None:
    """Python's name of what escapes, besides doubled quotes."""
    return None if escape == '"' else escape


def is_url(value: str) -> bool:
    """Whether a value begins as addresses of the web do."""
    return value.strip().lower().startswith(("http://", "https://"))


def _by_position(first: Sequence[str]) -> list[str]:
    """Names of a file without header; CC3M is caption and url, CC12M is url and caption."""
    names = [f"column_{number}" for number in range(1, len(first) + 1)]
    names[next(number for number, value in enumerate(first) if is_url(value))] = "url"
    if len(names) == 2:
        names[1 - names.index("url")] = "caption"
    return names


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns as they are, or with their numbers where they are empty or not the first."""
    distinct: list[str] = []
    for number, name in enumerate(names, start=1):
        chosen = name.strip() or f"column_{number}"
        while chosen in distinct:
            chosen = f"{chosen}_{number}"
        distinct.append(chosen)
    return tuple(distinct)


def _escape(lines: Sequence[str], delimiter: str) -> str:
    """A backslash where one stands before a quote that does not end its quoted value."""
    sign = re.escape(delimiter)
    inside = re.compile(rf'(?:^|{sign})"[^"]*\\"[^"{sign}]')
    return "\\" if any(map(inside.search, lines)) else '"'


def _is_quoted(lines: Sequence[str], delimiter: str, escape: str) -> bool:
    """False when values begin with a quote that does not end them, as in plain tsv."""
    values = [value for line in lines for value in line.split(delimiter)]
    begun = [value for value in values if value.startswith('"')]
    inside = [value for value in begun if '"' in value[1:].replace(f'{escape}"', "")[:-1]]
    return len(inside) * 2 <= len(begun)
