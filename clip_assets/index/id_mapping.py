"""What every vector id of an index version is; with it the version is complete and served.

The vectors are merged in ``index.faiss_index``, which also says which partition has which ids.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError, SchemaError, StoreError
from clip_assets.index import faiss_index, mapped_rows, versions
from clip_assets.index.slots import Content, Slot
from clip_assets.index.versions import Version
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store

GROUP_ROWS = mapped_rows.BATCH_ROWS
"""Rows of one row group of parquet: what reading the row of a single id costs there."""


def id_mapping(pool: Pool, key: Key) -> Outcome:
    """Write the rows and the id mapping of the newest index version, then serve it.

    The version says which partitions it holds. Memory: ``GROUP_ROWS`` rows, and the
    uids of one range, see ``mapped_rows.write_uids``.

    Raises:
        MissingArtifactError: there is no merged index.
        DamagedError: rows of a partition, or of the version before, are gone or damaged.
        AlignmentError: a partition was embedded anew since its vectors were merged.
    """
    return materialize(pool, ID_MAPPING, key, _make)


def id_mapping_inputs(pool: Pool, key: Key) -> Inputs:
    """What the mapping depends on: the merged version, which names the rows of each partition."""
    return {layout.FAISS_INDEX: pool.catalog.digest(layout.FAISS_INDEX, key)}


ID_MAPPING = Asset(
    layout.ID_MAPPING,
    "1",
    make=id_mapping,
    inputs=id_mapping_inputs,
    axis="pool",
    deps=(layout.FAISS_INDEX, layout.EMBEDDINGS),
    rows_from=layout.FAISS_INDEX,
)


def _make(run: StageRun) -> Report:
    merged = run.pool.catalog.require(layout.FAISS_INDEX)
    [manifest] = merged.of_kind(layout.index_manifest)
    version = versions.read(run.store, manifest.path.split("/")[1])
    name = version.name
    for content in (slot.content for slot in version.slots if slot.content):
        _check_unchanged(run.pool, content)
    # A file that two versions share may be the damaged one.
    same = set[int]() if run.to_mend else _unchanged(run, version)
    for number, slot in enumerate(version.slots):
        if not slot.count:
            continue  # a partition without samples left no rows
        if number in same:
            _take_over(run, version, number)
        else:
            _write_slot(run, version, number, slot)
        run.progress(number + 1, len(version.slots), "ranges of ids")
    before = None if run.to_mend else _served(run.store)
    if not run.to_mend:
        versions.use(run.store, name)
    return Report(
        version.vectors,
        version.vectors,
        figures={
            "serving": name,
            "served_before": before or "none",
            "partitions_used": version.partitions_used,
            "partitions_missing": version.partitions_missing,
            "partitions_stale": version.partitions_stale,
            "unused_ids": version.unused_ids,
            "ranges_taken_over": len(same),
        },
    )


def _served(store: Store) -> str | None:
    try:
        return versions.current(store)
    except SchemaError:
        return None  # The version that is made now takes the place of what it names.


def _check_unchanged(pool: Pool, content: Content) -> None:
    if faiss_index.content(pool, content.partition) != content:
        raise AlignmentError(
            f"{layout.ID_MAPPING} of partition {content.partition}",
            "rows of embeddings that are newer than the merged vectors",
            "rows of the same embeddings",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )


def _unchanged(run: StageRun, version: Version) -> set[int]:
    """Numbers of the ranges that the version of the last run has in the same place."""
    before = _before(run, version)
    if before is None:
        return set()
    there = set(run.store.list(layout.version_folder(before.name)))
    pairs = enumerate(zip(before.slots, version.slots, strict=False))
    # Earlier releases wrote no mapped rows.
    same = {
        number
        for number, (old, new) in pairs
        if old == new and layout.mapped_uids(before.name, number) in there
    }
    # A folder has tables of one kind: those of an earlier release are written anew, once.
    return same if _has_all_columns(run.store, before.name, same) else set()


def _before(run: StageRun, version: Version) -> Version | None:
    """The version of the last run, if this one goes on from it and it is whole."""
    last = run.pool.catalog.get(run.asset.name, run.key)
    named = {output.path.split("/")[1] for output in last.outputs} if last else set[str]()
    if version.previous is None or version.previous not in named:
        return None
    with suppress(StoreError):  # it is damaged, and nothing of it is taken over
        if versions.versions(run.store, [version.previous]):
            return versions.read(run.store, version.previous)
    return None


def _has_all_columns(store: Store, name: str, numbers: set[int]) -> bool:
    if not numbers:
        return False
    with store.local(layout.index_rows(name, min(numbers))) as file:
        return pq.read_schema(file).names == schemas.INDEX_ROWS.names


def _take_over(run: StageRun, version: Version, number: int) -> None:
    """Publish the files of the previous version's range, which never change, once more."""
    assert version.previous is not None
    # Those of other tools come last: with them a range is complete.
    for path in (layout.mapped_rows, layout.mapped_uids, layout.index_rows, layout.id_mapping):
        before, now = path(version.previous, number), path(version.name, number)
        with (
            run.pool.catalog.sound(run.asset.name, run.key, before) as file,
            run.store.publish(now) as part,
        ):
            try:
                part.hardlink_to(file)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, part)
        # Its bytes were read already, and are those of its manifest.
        run.keep(replace(run.output(before), path=now))


def _write_slot(run: StageRun, version: Version, number: int, slot: Slot) -> None:
    _write_mapped(run, version, number, slot)
    rows_path = layout.index_rows(version.name, number)
    ids_path = layout.id_mapping(version.name, number)
    with (
        run.publish(rows_path) as rows_part,
        run.publish(ids_path) as ids_part,
        pq.ParquetWriter(rows_part, schemas.INDEX_ROWS, compression=tables.COMPRESSION) as rows,
        pq.ParquetWriter(ids_part, schemas.ID_MAPPING, compression=tables.COMPRESSION) as ids,
    ):
        start = slot.start
        for batch in _rows(run.pool, slot):
            table = pa.Table.from_batches([batch])
            rows.write_table(table)
            numbered = table.append_column("i", pa.array(range(start, start + len(table))))
            ids.write_table(tables.conform(numbered, schemas.ID_MAPPING, ids_path))
            start += len(table)
        _check_count(number, slot, start - slot.start)


def _write_mapped(run: StageRun, version: Version, number: int, slot: Slot) -> None:
    with run.publish(layout.mapped_rows(version.name, number)) as part:
        uids = mapped_rows.write(part, _rows(run.pool, slot))
        _check_count(number, slot, sum(map(len, uids)))
    with run.publish(layout.mapped_uids(version.name, number)) as part:
        mapped_rows.write_uids(part, uids)


def _check_count(number: int, slot: Slot, rows: int) -> None:
    if rows != slot.count:
        raise AlignmentError(
            f"{layout.EMBEDDINGS} of range {number}",
            f"{rows:,} rows",
            f"{slot.count:,}, one for a vector",
            f"Run: clip-assets run --select {layout.EMBEDDINGS}+",
        )


def _rows(pool: Pool, slot: Slot) -> Iterator[pa.RecordBatch]:
    """The rows of a range of ids, in groups; null rows where no partition has the ids."""
    if slot.content is None:
        for start in range(0, slot.count, GROUP_ROWS):
            yield _nothing(min(GROUP_ROWS, slot.count - start))
        return
    partition = slot.content.partition
    path = layout.embedding_rows(partition)
    with (
        pool.catalog.sound(layout.EMBEDDINGS, partition, path) as file,
        pq.ParquetFile(file) as source,
    ):
        for batch in tables.regrouped(source.iter_batches(), GROUP_ROWS):
            # Embeddings of earlier releases lack the youngest columns.
            whole = tables.filled(pa.Table.from_batches([batch]), schemas.INDEX_ROWS)
            table = tables.conform(whole, schemas.INDEX_ROWS, path)
            yield table.combine_chunks().to_batches()[0]


def _nothing(rows: int) -> pa.RecordBatch:
    nulls = [pa.nulls(rows, field.type) for field in schemas.INDEX_ROWS]
    return pa.RecordBatch.from_arrays(nulls, schema=schemas.INDEX_ROWS)
