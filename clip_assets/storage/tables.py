"""Parquet files that hold exactly what the layout says.

Reads name the file and the difference when a schema does not match. Writing goes through
``Store.publish``; this module only turns tables into a file and back.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError
from clip_assets.storage.store import Store

COMPRESSION: Literal["zstd"] = "zstd"
"""Half of snappy's size on urls and captions at the same read speed."""

_DISTINCT = frozenset({"uid", "url", "caption", "text", "sha256", "md5", "key", "hi", "lo", "row"})
# A dictionary of values that do not repeat costs a third of the time to write them.


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
    compression: Literal["zstd", "none"] = COMPRESSION,
) -> None:
    """Write a table of any size to an unpublished file, one row group per batch.

    Args:
        part: where, see ``Store.publish``.
        schema: of every batch.
        batches: in order; each is in memory only while it is written.
        compression: parquet's name of it.
    """
    repeated = [name for name in schema.names if name not in _DISTINCT]
    with pq.ParquetWriter(
        part,
        schema,
        compression=compression,
        use_dictionary=repeated,  # pyright: ignore[reportArgumentType]
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)


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


def read(
    store: Store, path: str, schema: pa.Schema, producer: str, columns: list[str] | None = None
) -> pa.Table:
    """Read a published table, or some of its columns; further columns of the file are left out.

    Raises:
        MissingArtifactError: no stage has written it.
        SchemaError: it lacks a column or holds another type.
    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    with store.local(path, producer) as file:
        found = pq.read_schema(file)
        missing = [name for name in wanted.names if name not in found.names]
        if missing:
            raise _mismatch(store.uri(path), found, f"columns {missing}")
        table = pq.read_table(file, columns=wanted.names, memory_map=store.is_local)
    return conform(table, wanted, store.uri(path))


def count(store: Store, path: str, producer: str) -> int:
    """Rows of a published table, from its footer."""
    with store.local(path, producer) as file:
        return int(pq.read_metadata(file).num_rows)


def _mismatch(where: str, found: pa.Schema, expected: str) -> SchemaError:
    return SchemaError(
        where,
        f"columns {', '.join(f'{field.name} {field.type}' for field in found)}",
        expected,
        "Another program or version wrote it; remove it and materialize its asset again.",
    )
