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

HEAD_BYTES = 1 << 20
"""Of a file that are looked at; a first line longer than this is no header."""

MAX_COLUMNS = 1000
"""LAION and COYO have below 30."""

DELIMITERS = ",\t|;"

_LINE_END = re.compile(r"\r\n|\r|\n")
_SAMPLE_RECORDS = 20
_WINDOW_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read one text file.

    Args:
        delimiter: between columns.
        quoted: whether ``"`` quotes; otherwise it is a character like others.
        columns: names, from the header or by position; empty for a file without content.
        has_header: whether the first row is no data.
        encoding: ``utf-8``, or ``utf-16`` where a byte order mark says so.
        ends_with_cr: whether a carriage return alone ends a line; where the first line ends
            otherwise, it is a character of a value.
    """

    delimiter: str
    quoted: bool
    columns: tuple[str, ...]
    has_header: bool
    encoding: str = "utf-8"
    ends_with_cr: bool = False


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
    first = _fields(lines[0], delimiter)
    if len(first) > MAX_COLUMNS:
        raise SourceFormatError(
            where,
            f"{len(first):,} columns",
            f"at most {MAX_COLUMNS:,}",
            "Select the columns that describe pairs before adding the file.",
        )
    has_header = not any(map(_is_url, first))
    names = first if has_header else _by_position(first)
    quoted = _is_quoted(lines, delimiter)
    first_end = _LINE_END.search(text)
    ends_with_cr = first_end is not None and first_end[0] == "\r"
    return Dialect(delimiter, quoted, _distinct(names), has_header, encoding, ends_with_cr)


def encoding_of(start: bytes) -> str:
    """``utf-16`` where a byte order mark says so, else ``utf-8``."""
    is_wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_wide else "utf-8"


def has_plain_lines(path: Path) -> bool:
    """Whether every line is far below DuckDB's limit; it loses longer ones without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size == 0:
            return True
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # A line of two windows' length covers one of them.
            return all(
                content.find(b"\n", start, start + _WINDOW_BYTES) >= 0
                for start in range(0, size - _WINDOW_BYTES, _WINDOW_BYTES)
            )


def _fitness(
    lines: Sequence[str], delimiter: str, understood: Collection[str]
) -> tuple[int, bool, int]:
    """Names understood in the first line, urls in it, columns that every line agrees on."""
    records = [_fields(line, delimiter) for line in lines]
    names = sum(name.strip().casefold() in understood for name in records[0])
    agreed = len(records[0]) if len({len(record) for record in records}) == 1 else 0
    return names, any(map(_is_url, records[0])), agreed


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:  # a field longer than the module's limit
        return line.split(delimiter)


def _is_url(value: str) -> bool:
    return value.strip().lower().startswith(("http://", "https://"))


def _by_position(first: Sequence[str]) -> list[str]:
    """Names of a file without header; CC3M is caption and url, CC12M is url and caption."""
    names = [f"column_{number}" for number in range(1, len(first) + 1)]
    names[next(number for number, value in enumerate(first) if _is_url(value))] = "url"
    if len(names) == 2:
        names[1 - names.index("url")] = "caption"
    return names


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    distinct: list[str] = []
    for number, name in enumerate(names, start=1):
        chosen = name.strip() or f"column_{number}"
        while chosen in distinct:
            chosen = f"{chosen}_{number}"
        distinct.append(chosen)
    return tuple(distinct)


def _is_quoted(lines: Sequence[str], delimiter: str) -> bool:
    """False when values begin with a quote that does not end them, as in plain tsv."""
    values = [value for line in lines for value in line.split(delimiter)]
    begun = [value for value in values if value.startswith('"')]
    inside = [value for value in begun if '"' in value[1:].replace('""', "")[:-1]]
    return len(inside) * 2 <= len(begun)
