"""Rows of jsonl files: one json object in a line."""

import json
from collections.abc import Iterator
from typing import IO

from clip_assets.pairs.formats.lines import Record, Reject, marked_lines, too_long


def jsonl_records(file: IO[bytes]) -> Iterator[Record | Reject]:
    """Rows of a jsonl file; nested values are kept as json."""
    for line in marked_lines(file):
        if line.is_too_long:
            yield too_long(line)
        elif line.text.strip():
            try:
                row = json.loads(line.text)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                values = {str(name): _json_text(value) for name, value in row.items()}
                yield Record(line.number, values, line.was_repaired)
            else:
                yield Reject(line.number, "no json object", line.text)


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
