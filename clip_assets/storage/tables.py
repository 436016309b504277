"""Parquet files that hold exactly what the layout says.

Reads name the file and the difference when a schema does not match. Writing goes through
``Store.publish``; this module only turns tables into a file and back.
"""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError
from clip_assets.layout import Artifact, Key
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store

COMPRESSION: Literal["zstd"] = "zstd"
"""Half of snappy's size on urls and captions at the same read speed."""

ROW_GROUP_ROWS = 122_880
"""Rows that are in memory at once while a table of any size is written."""

_ONE_PAGE = 1 << 30
# Bytes that no column of a row group has.

_SAMPLE_ROWS = 4096
# First rows of a table, by which columns are taken for repeating or distinct.


def write(part: Path, table: pa.Table, schema: pa.Schema | None = None) -> None:
    """Write a table to an unpublished file.

    Args:
        part: where, see ``Store.publish``.
        table: the rows.
        schema: columns to check and cast to; None for a table without a fixed schema.

    Raises:
        SchemaError: the table lacks a column or a column does not cast.
    """
    conformed = table if schema is None else conform(table, schema, str(part))
    pq.write_table(conformed, part, compression=COMPRESSION)


def write_batches(
    part: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    plain: Sequence[str] = (),
) -> None:
    """Write a table of any size to an unpublished file, one row group per batch.

    Args:
        part: where, see ``Store.publish``.
        schema: of every batch.
        batches: in order; each is in memory only while it is written.
        plain: columns of lists of one length and without nulls, whose numbers stand in each row
            group as in memory, one after the other, at the end of the column.
    """
    remaining = iter(batches)
    first = list(islice(remaining, 1))
    # A dictionary of values that do not repeat, and the least and greatest of distinct texts,
    # cost a third of the time to write them and help nobody.
    distinct = [name for batch in first for name in _distinct(batch)]
    texts = {name for name in distinct if pa.types.is_string(schema.field(name).type)}
    compression = dict.fromkeys(schema.names, COMPRESSION)
    bare = dict.fromkeys([f"{name}.list.element" for name in plain], "none")
    with pq.ParquetWriter(
        part,
        schema,
        compression=compression | bare if plain else COMPRESSION,  # pyright: ignore[reportArgumentType]
        data_page_size=_ONE_PAGE if plain else None,
        use_dictionary=[name for name in schema.names if name not in distinct],  # pyright: ignore[reportArgumentType]
        write_statistics=[name for name in schema.names if name not in texts],  # pyright: ignore[reportArgumentType]
        # Lengths apart from characters compress better, and digests of one length at half the
        # time.
        column_encoding=dict.fromkeys(texts, "DELTA_LENGTH_BYTE_ARRAY"),
    ) as writer:
        for batch in chain(first, remaining):
            writer.write_batch(batch)


def write_numbers(part: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a table of integers that are sorted or random, one row group per batch.

    Args:
        part: where, see ``Store.publish``.
        schema: of every batch; integers only.
        batches: in order.
    """
    packed = dict.fromkeys(schema.names, "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(
        part, schema, compression="none", use_dictionary=False, column_encoding=packed
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)


def regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``rows``; only the last one may have fewer."""
    waiting: list[pa.RecordBatch] = []
    missing = rows
    for batch in batches:
        rest = batch
        while rest.num_rows >= missing:
            yield _joined([*waiting, rest.slice(0, missing)])
            rest = rest.slice(missing)
            waiting, missing = [], rows
        if rest.num_rows:
            waiting.append(rest)
            missing -= rest.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)  # pyright: ignore[reportAttributeAccessIssue]


def _distinct(batch: pa.RecordBatch) -> list[str]:
    """Columns most of whose values stand there once."""
    import pyarrow.compute as pc

    sample = batch.slice(0, _SAMPLE_ROWS)
    return [
        field.name
        for field, column in zip(sample.schema, sample.columns, strict=True)
        if not pa.types.is_nested(field.type)
        and pc.count_distinct(column).as_py() > sample.num_rows / 2
    ]


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """The table with exactly the schema's columns, in its order and types.

    Raises:
        SchemaError: a column is missing or does not cast.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise _mismatch(where, table.schema, f"columns {missing}")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise _mismatch(where, table.schema, f"{schema} ({error})") from error


def read(store: Store, path: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a published table, or some of its columns; further columns of the file are left out.

    A column that may be null and that the file does not have is null: an earlier release, whose
    layout had no such column, wrote the file.

    Raises:
        MissingArtifactError: no stage has written it.
        SchemaError: it lacks a column that is never null, or holds another type.
    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    with store.local(path) as file:
        stored = pq.read_schema(file)
        absent = [field for field in wanted if field.name not in stored.names]
        needed = [field.name for field in absent if not field.nullable]
        if needed:
            raise _mismatch(store.uri(path), stored, f"columns {needed}")
        present = [name for name in wanted.names if name in stored.names]
        table = pq.read_table(file, columns=present, memory_map=store.is_local)
    return conform(filled(table, wanted), wanted, store.uri(path))


def filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with nulls in those columns that may be null and that it does not have."""
    for field in schema:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def has_rows(file: Path) -> bool:
    """Whether a local table has any row."""
    return pq.read_metadata(file).num_rows > 0


@contextmanager
def local(store: Store, made: Manifest, kind: Artifact[[Key]]) -> Generator[Path]:
    """A table of a finished key as a local path; one without rows where it left none.

    Args:
        store: the pool's files.
        made: the manifest of what made it.
        kind: which table.

    Raises:
        MissingArtifactError: there should be one.
    """
    path = kind(made.key)
    if any(output.path == path for output in made.outputs):
        with store.local(path) as file:
            yield file
        return
    assert kind.schema is not None
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
        write(file := Path(folder, Path(path).name), kind.schema.empty_table())
        yield file


def count(store: Store, path: str) -> int:
    """Rows of a published table, from its footer."""
    with store.local(path) as file:
        return int(pq.read_metadata(file).num_rows)


def _mismatch(where: str, found: pa.Schema, expected: str) -> SchemaError:
    return SchemaError(
        where,
        f"columns {', '.join(f'{field.name} {field.type}' for field in found)}",
        expected,
        "Another program or version wrote it; remove it and materialize its asset again.",
    )
