"""Partitions of what others made: their rows become a source, and the plan names the rest.

The rows are copied into the store with their numbers, so that they are read like those of any
source; what was made of them is taken over by the stage that would have made it. Which files belong
together is said by ``partitions.adoptable``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import opened
from clip_assets.layout import PartitionKey
from clip_assets.partitions import ledger
from clip_assets.partitions.adoptable import FoundPiece
from clip_assets.partitions.plans import AdoptedRows, PartitionPlan, SourceRange
from clip_assets.storage import locks, private
from clip_assets.storage.store import Store

BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Urls:
    """How rows without a column of urls get them.

    Args:
        column: whose values are urls, or their ends; empty: the one that every source has.
        prefix: before each value.
    """

    column: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What ``adopt`` did.

    Args:
        plans: of new partitions.
        unchanged: files of rows that are adopted already.
    """

    plans: tuple[PartitionPlan, ...]
    unchanged: int


def adopt(
    store: Store, pieces: Sequence[FoundPiece], model: str, urls: Urls, rows_per_partition: int
) -> Adoption:
    """Plan partitions of what is not adopted yet.

    A kill between two plans loses nothing: the next call plans what is not planned.

    Args:
        store: the pool.
        pieces: in order.
        model: of the vectors, as the user named it; empty where there are none.
        urls: how rows get theirs.
        rows_per_partition: that a partition aims at; a file is never cut.

    Raises:
        BusyError: another process is adding sources.
    """
    with locks.exclusive(store, "ledger"):
        before = ledger.plans(store)
        known = {_name(piece) for plan in before if plan.adopted for piece in plan.adopted.pieces}
        new = [one for one in pieces if _name(one.piece) not in known]
        first = int(before[-1].partition) + 1 if before else 0
        plans = [
            _planned(store, layout.partition_key(first + number), group, model, urls)
            for number, group in enumerate(_groups(new, rows_per_partition))
        ]
    return Adoption(tuple(plans), len(pieces) - len(new))


def _name(piece: object) -> tuple[str, str]:
    file = getattr(piece, "image", None) or getattr(piece, "tar", None)
    return (file.uri, file.member) if file else ("", "")


def _groups(pieces: Sequence[FoundPiece], rows: int) -> Iterator[list[FoundPiece]]:
    group: list[FoundPiece] = []
    held = 0
    for one in pieces:
        if group and held + one.piece.rows > rows:
            yield group
            group, held = [], 0
        group.append(one)
        held += one.piece.rows
    if group:
        yield group


def _planned(
    store: Store, key: PartitionKey, group: Sequence[FoundPiece], model: str, urls: Urls
) -> PartitionPlan:
    path = layout.adopted(key)
    with store.publish(path) as part:
        rows = _copy_rows(part, group, urls)
    file = looked_at(store.uri(path))
    source = SourceRange(file.uri, file.size_bytes, file.etag, rows=rows, estimated_rows=rows)
    pieces = tuple(one.piece for one in group)
    plan = PartitionPlan(key, (source,), AdoptedRows(pieces, model))
    private.write(store, layout.plan(key), plan.content())
    return plan


def _copy_rows(part: Path, group: Sequence[FoundPiece], urls: Urls) -> int:
    """Write the rows of all files with their numbers; columns are those of the first."""
    first = pa.schema([f for f in group[0].columns if f.name != schemas.ADOPTED_ROW])
    if urls.column or urls.prefix:
        first = _with_url(first.empty_table(), urls).schema
    number = pa.field(schemas.ADOPTED_ROW, pa.int64(), nullable=False)
    schema, rows = pa.schema([*first, number]), 0
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for one in group:
            with opened(one.table.uri) as content, pq.ParquetFile(content) as table:
                kept = [name for name in table.schema_arrow.names if name in one.columns.names]
                for batch in table.iter_batches(BATCH_ROWS, columns=kept):
                    taken = pa.Table.from_batches([batch])
                    if urls.column or urls.prefix:
                        taken = _with_url(taken, urls)
                    numbers = pa.array(range(rows, rows + len(taken)), number.type)
                    writer.write_table(_as(taken, first).append_column(number, numbers))
                    rows += len(taken)
    return rows


def _with_url(table: pa.Table, urls: Urls) -> pa.Table:
    """The rows with a column ``url`` as it was asked for."""
    column = urls.column or "url"
    values = table[column].cast(pa.string())
    texts = [None if value is None else urls.prefix + value for value in values.to_pylist()]
    joined = pa.chunked_array([texts], pa.string())
    others = [name for name in table.column_names if name.casefold() not in ("url", column)]
    return table.select(others).append_column("url", joined)


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
