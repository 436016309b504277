"""Source rows as Arrow tables of text, in bounded batches.

Every table has columns ``c0``, ``c1``, ... in the order of the names that come with it, and
``line``, null where the format has no lines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from clip_assets.errors import SourceFormatError
from clip_assets.pairs.columns import refuse_too_many
from clip_assets.pairs.formats.lines import Record, Reject

BATCH_ROWS = 65_536
BATCH_BYTES = 64 << 20
"""Of decoded values in one table, about."""

MOST_NOTHING = 1_000_000
"""Lines that may be no row, or a row without any value, where hardly any line is a row."""


@dataclass(slots=True)
class Batch:
    """Some rows of a source, and what could not be one.

    Args:
        names: source columns.
        table: ``c0`` ... ``line``; row i of the source's next rows.
        rejects: rows that cannot be read, by line.
        repaired: rows with bytes that were no UTF-8.
    """

    names: list[str]
    table: pa.Table
    rejects: list[Reject] = field(default_factory=list[Reject])
    repaired: int = 0


def from_records(records: Iterable[Record | Reject], where: str) -> Iterator[Batch]:
    """Batches of text records; a batch has the columns of all records so far.

    Args:
        records: rows of a source.
        where: the source, for the error.

    Raises:
        SourceFormatError: they have too many columns, or hardly any of very many is a row.
    """
    nothing = 0
    rows: list[Record] = []
    rejects: list[Reject] = []
    names: dict[str, None] = {}
    size = 0
    for total, record in enumerate(records, start=1):
        if isinstance(record, Reject):
            rejects.append(record)
            size += len(record.text)
        else:
            rows.append(record)
            names.update(dict.fromkeys(record.values))
            refuse_too_many(names, where)
            size += sum(len(value) for value in record.values.values() if value)
        nothing += isinstance(record, Reject) or not any(record.values.values())
        if len(rows) + len(rejects) >= BATCH_ROWS or size >= BATCH_BYTES:
            _refuse_nothing(nothing, total, record.line, where)
            yield _batch(list(names), rows, rejects)
            rows, rejects, size = [], [], 0
    if rows or rejects:
        yield _batch(list(names), rows, rejects)


def _refuse_nothing(nothing: int, total: int, line: int, where: str) -> None:
    if nothing > MOST_NOTHING and nothing > total - total // 100:
        raise SourceFormatError(
            where,
            f"{nothing:,} lines of the first {line:,} that are no row",
            f"a table of pairs; where 99 of 100 lines are none, {MOST_NOTHING:,} are looked at",
            "Look at it: a quote that is never closed, another delimiter, or no table at all.",
        )


def _batch(names: list[str], rows: list[Record], rejects: list[Reject]) -> Batch:
    repaired = {number for number, row in enumerate(rows) if row.was_repaired}
    arrays = {
        f"c{number}": _text_array([row.values.get(name) for row in rows], repaired)
        for number, name in enumerate(names)
    }
    lines = pa.array([row.line for row in rows], pa.int64())
    return Batch(names, pa.table(arrays | {"line": lines}), rejects, len(repaired))


def _text_array(values: list[str | None], repaired: set[int]) -> pa.Array:
    """Texts as Arrow has them; rows that had to be changed for it are added to ``repaired``."""
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:  # json can spell halves of surrogate pairs
        whole = [value and value.encode("utf-8", "replace").decode() for value in values]
        repaired |= {row for row, value in enumerate(values) if value != whole[row]}
        return pa.array(whole, pa.large_string())
