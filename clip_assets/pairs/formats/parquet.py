"""Parquet files: their row groups, and their rows in batches where DuckDB cannot read them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets.errors import SourceFormatError
from clip_assets.files.footers import MAX_FOOTER_BYTES, footer_bytes
from clip_assets.pairs.columns import MAX_VALUE_BYTES, refuse_too_many
from clip_assets.pairs.formats.batches import BATCH_BYTES, BATCH_ROWS, Batch
from clip_assets.pairs.formats.dialect import distinct
from clip_assets.pairs.formats.lines import decoded

ROW_NUMBER = "file_row_number"
"""What DuckDB calls the number of a row in its file."""

MANY, FEW = 1000, 1000
"""So many row groups of so few rows each are no table as DuckDB reads them."""

TEXTS = frozenset(
    {pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())}
)
"""Types of a column of text."""

_BYTES = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def batches(
    file: IO[bytes],
    first_row_group: int | None,
    row_groups: int | None,
    where: str,
    understood: Collection[str],
) -> Iterator[Batch]:
    """Batches of a parquet file's row groups (all of them when ``first_row_group`` is None).

    Text stays in dictionaries, so that a value that stands in every row is there once. Writers
    of old leave out the mark that bytes are text; under a name that means something they are.

    Raises:
        SourceFormatError: it is no parquet file.
    """
    try:
        schema = pq.read_schema(file)
        names = _names(schema)
        unmarked = _unmarked(schema, understood)
        with pq.ParquetFile(file, read_dictionary=_texts(schema)) as source:
            first = first_row_group or 0
            last = source.num_row_groups if row_groups is None else first + row_groups
            wanted = list(range(first, last))
            for batch in _joined(source.iter_batches(BATCH_ROWS, row_groups=wanted)):
                columns = [
                    _text(column) if number in unmarked else _valid(column)
                    for number, column in enumerate(batch.columns)
                ]
                arrays = {f"c{number}": column for number, (column, _) in enumerate(columns)}
                lines = pa.nulls(batch.num_rows, pa.int64())
                table = pa.table(arrays | {"line": lines})
                yield Batch(names, table, repaired=sum(count for _, count in columns))
    except (pa.ArrowException, OSError) as error:
        raise bad_parquet(where, str(error), "a whole parquet file") from error


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches put together: one ends with its row group, which may be a single row."""
    waiting: list[pa.RecordBatch] = []
    rows, size = 0, 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _one(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _one(waiting)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    [batch] = table.to_batches()
    return batch


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
        return _text(column.cast(pa.binary()))
    return column, 0


def _text(column: pa.Array) -> tuple[pa.Array, int]:
    """Bytes as valid text, and how many rows were repaired."""
    raw = column.to_pylist()
    texts = [None if value is None else decoded(value) for value in raw]
    valid = pa.array([text and text[0] for text in texts], pa.large_string())
    return valid, sum(text is not None and text[1] for text in texts)


def _names(schema: pa.Schema) -> list[str]:
    """A file's names of its columns; it may give one to several."""
    names = schema.names
    return names if len(set(names)) == len(names) else list(distinct(names))


def _unmarked(schema: pa.Schema, understood: Collection[str]) -> set[int]:
    """Places of columns of bytes that are text by their names."""
    return {
        place
        for place, field in enumerate(schema)
        if is_bytes(field.type) and field.name.strip().casefold() in understood
    }


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Some row groups of a parquet file, before their rows are read.

    Args:
        names: of the file's columns.
        types: of the file's columns.
        first: number of the first row.
        count: how many there are.
        is_plain: whether DuckDB reads them as they are meant. It does not where some text of
            more than ``MAX_VALUE_BYTES`` is stored once for many rows, since it needs that much
            memory for each; where text has no mark; where a column has the name that it gives to
            the number of a row; and where row groups are many and small, as it holds on to each.
    """

    names: list[str]
    types: list[pa.DataType]
    first: int
    count: int
    is_plain: bool


def row_groups_of(
    file: IO[bytes],
    first_row_group: int | None,
    row_groups: int | None,
    where: str,
    understood: Collection[str],
) -> RowGroups:
    """What there is in some row groups (all of them when ``first_row_group`` is None).

    Raises:
        SourceFormatError: it is no parquet file, or has too many columns.
    """
    if (size := footer_bytes(file)) > MAX_FOOTER_BYTES:
        raise SourceFormatError(
            where,
            f"a footer of {size:,} bytes: too many row groups",
            f"at most {MAX_FOOTER_BYTES:,} bytes",
            "Write it again, with row groups of 100,000 rows or more.",
        )
    try:
        schema = pq.read_schema(file)
        refuse_too_many(schema, where)
        with pq.ParquetFile(file, read_dictionary=_texts(schema)) as source:
            footer = source.metadata
            counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
            first = first_row_group or 0
            last = len(counts) if row_groups is None else first + row_groups
            is_cut_small = last - first > MANY and sum(counts[first:last]) < FEW * (last - first)
            is_long = not is_cut_small and any(
                _has_long_values(source, group) for group in range(first, last)
            )
    except (pa.ArrowException, OSError) as error:
        raise bad_parquet(where, str(error), "a whole parquet file") from error
    is_plain = not (
        is_long
        or is_cut_small
        or _unmarked(schema, understood)
        or ROW_NUMBER in {name.casefold() for name in schema.names}
    )
    first_row, count = sum(counts[:first]), sum(counts[first:last])
    return RowGroups(_names(schema), schema.types, first_row, count, is_plain)


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
    return [field.name for field in schema if field.type in TEXTS]


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, of any kind, in a dictionary or not."""
    if pa.types.is_dictionary(kind):
        return is_bytes(kind.value_type)
    return any(is_kind(kind) for is_kind in _BYTES)


def bad_parquet(where: str, found: str, expected: str) -> SourceFormatError:
    """The error for a parquet file that cannot be used."""
    return SourceFormatError(where, found, expected, "Leave it out, or write it again.")
