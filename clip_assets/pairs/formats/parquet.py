"""Parquet files: their row groups, and their rows in batches where DuckDB cannot read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets.errors import SourceFormatError
from clip_assets.pairs.columns import MAX_VALUE_BYTES
from clip_assets.pairs.formats.batches import BATCH_ROWS, Batch
from clip_assets.pairs.formats.dialect import MAX_COLUMNS
from clip_assets.pairs.formats.lines import decoded


def batches(
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
            footer = source.metadata
            counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
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
