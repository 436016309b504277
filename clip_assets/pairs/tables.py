"""Source rows as Arrow tables of text, in bounded batches.

Every table has columns ``c0``, ``c1``, ... in the order of the names that come with it, and
``line``, null where the format has no lines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets.errors import SourceFormatError
from clip_assets.pairs.columns import MAX_VALUE_BYTES
from clip_assets.pairs.dialect import MAX_COLUMNS
from clip_assets.pairs.records import Record, Reject, decoded

BATCH_ROWS = 65_536
BATCH_BYTES = 64 << 20
"""Of decoded values in one table, about."""


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


def from_records(records: Iterable[Record | Reject]) -> Iterator[Batch]:
    """Batches of text records; a batch has the columns of all records so far."""
    rows: list[Record] = []
    rejects: list[Reject] = []
    names: dict[str, None] = {}
    size = 0
    for record in records:
        if isinstance(record, Reject):
            rejects.append(record)
            size += len(record.text)
        else:
            rows.append(record)
            names.update(dict.fromkeys(record.values))
            size += sum(len(value) for value in record.values.values() if value)
        if len(rows) + len(rejects) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _batch(list(names), rows, rejects)
            rows, rejects, size = [], [], 0
    if rows or rejects:
        yield _batch(list(names), rows, rejects)


def _batch(names: list[str], rows: list[Record], rejects: list[Reject]) -> Batch:
    arrays = {
        f"c{number}": _text_array([row.values.get(name) for row in rows])
        for number, name in enumerate(names)
    }
    lines = pa.array([row.line for row in rows], pa.int64())
    repaired = sum(row.was_repaired for row in rows)
    return Batch(names, pa.table(arrays | {"line": lines}), rejects, repaired)


def _text_array(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:  # json can spell halves of surrogate pairs
        whole = [value and value.encode("utf-8", "replace").decode() for value in values]
        return pa.array(whole, pa.large_string())


def from_parquet(
    file: IO[bytes], first_row_group: int | None, row_groups: int | None, where: str
) -> Iterator[Batch]:
    """Batches of a parquet file's row groups (all of them when ``first_row_group`` is None).

    Text stays in dictionaries, so that a value that stands in every row is there once.

    Raises:
        SourceFormatError: it is no parquet file.
    """
    try:
        schema = pq.read_schema(file)
        with pq.ParquetFile(file, read_dictionary=_texts(schema)) as source:
            first = first_row_group or 0
            last = source.num_row_groups if row_groups is None else first + row_groups
            for batch in source.iter_batches(BATCH_ROWS, row_groups=list(range(first, last))):
                columns = [_valid(column) for column in batch.columns]
                arrays = {f"c{number}": column for number, (column, _) in enumerate(columns)}
                lines = pa.nulls(batch.num_rows, pa.int64())
                table = pa.table(arrays | {"line": lines})
                yield Batch(schema.names, table, repaired=sum(count for _, count in columns))
    except (pa.ArrowException, OSError) as error:
        raise bad_parquet(where, str(error), "a whole parquet file") from error


def _valid(column: pa.Array) -> tuple[pa.Array, int]:
    """The column with valid UTF-8 in every text, and how many rows were repaired."""
    if isinstance(column, pa.DictionaryArray):
        texts, repaired = _valid(column.dictionary)
        if not repaired:
            return column, 0
        changed = pc.not_equal(texts.cast(pa.binary()), column.dictionary.cast(pa.binary()))
        rows = pc.take(changed, column.indices).true_count
        return pa.DictionaryArray.from_arrays(column.indices, texts), rows
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.binary()).to_pylist()
        texts = pa.array([value and decoded(value)[0] for value in raw], pa.string())
        return texts, sum(bool(value) and decoded(value)[1] for value in raw)
    return column, 0


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Some row groups of a parquet file, before their rows are read.

    Args:
        schema: the file's columns.
        first: number of the first row.
        count: how many there are.
        has_long_values: some text of more than ``MAX_VALUE_BYTES`` is stored once for many
            rows; whoever spells it out for each needs that much memory for each.
    """

    schema: pa.Schema
    first: int
    count: int
    has_long_values: bool


def row_groups_of(
    file: IO[bytes], first_row_group: int | None, row_groups: int | None, where: str
) -> RowGroups:
    """What there is in some row groups (all of them when ``first_row_group`` is None).

    Raises:
        SourceFormatError: it is no parquet file, or has too many columns.
    """
    try:
        schema = pq.read_schema(file)
        if len(schema) > MAX_COLUMNS:
            raise bad_parquet(where, f"{len(schema):,} columns", f"at most {MAX_COLUMNS:,}")
        with pq.ParquetFile(file, read_dictionary=_texts(schema)) as source:
            found = source.metadata
            counts = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
            first = first_row_group or 0
            last = len(counts) if row_groups is None else first + row_groups
            is_long = any(_has_long_values(source, group) for group in range(first, last))
    except (pa.ArrowException, OSError) as error:
        raise bad_parquet(where, str(error), "a whole parquet file") from error
    return RowGroups(schema, sum(counts[:first]), sum(counts[first:last]), is_long)


def _has_long_values(source: pq.ParquetFile, group: int) -> bool:
    """Whether a dictionary of a row group has a long value; reads one row and the dictionaries."""
    texts = _texts(source.schema_arrow)
    for batch in source.iter_batches(1, row_groups=[group], columns=texts):
        lengths = [
            pc.binary_length(column.dictionary)  # pyright: ignore[reportCallIssue, reportArgumentType]
            for column in batch.columns
            if isinstance(column, pa.DictionaryArray)
        ]
        return any((pc.max(length).as_py() or 0) > MAX_VALUE_BYTES for length in lengths)
    return False


def _texts(schema: pa.Schema) -> list[str]:
    kinds = {pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())}
    return [field.name for field in schema if field.type in kinds]


def bad_parquet(where: str, found: str, expected: str) -> SourceFormatError:
    """The error for a parquet file that cannot be used."""
    return SourceFormatError(where, found, expected, "Leave it out, or write it again.")
