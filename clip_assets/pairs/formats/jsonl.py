"""Rows of jsonl files: one json object in a line."""

import json
from collections.abc import Collection, Iterator
from typing import IO, cast

from clip_assets.pairs.formats.lines import Record, Reject, marked_lines, too_long


def jsonl_records(file: IO[bytes], plain: Collection[str]) -> Iterator[Record | Reject]:
    """Rows of a jsonl file; nested values are kept as json.

    Args:
        file: the file.
        plain: names in lower case of values that are not nested. Of a list the first text is
            taken, and what was nested is kept beside it.
    """
    for line in marked_lines(file):
        if line.is_too_long:
            yield too_long(line)
        elif line.text.strip():
            row = _parsed(line.text)
            if isinstance(row, dict):
                values = _values(cast("dict[str, object]", row), plain)
                yield Record(line.number, values, line.was_repaired)
            else:
                yield Reject(line.number, "no json object", line.text)


def _parsed(text: str) -> object:
    """What a line says, None where it is no json."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:  # a number may have more digits than Python reads as one
        return json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return None


def _values(row: dict[str, object], plain: Collection[str]) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for name, value in row.items():
        if isinstance(value, dict | list) and name.strip().casefold() in plain:
            first = (
                next(iter(cast("list[object]", value)), None) if isinstance(value, list) else None
            )
            values[name] = first if isinstance(first, str) else None
            values[f"source_{name}"] = _json_text(value)
        else:
            values[name] = _json_text(value)
    return values


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
