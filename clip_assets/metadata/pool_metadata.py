"""DataComp's metadata of a partition, with what became of every pair.

Joins pairs, shard rows, embedding rows and own scores by uid. Choosing rows from it is
``subsets.choosing``; counting over the pool is ``stats``.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError
from clip_assets.layout import Key, PartitionKey
from clip_assets.metadata.aesthetic import AESTHETIC, aesthetic_scores
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import Manifest, Report

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_BYTES = 2**30
"""Of the join; beyond it, it spills."""

BATCH_ROWS = 50_000

OPENAI_SCORES = {
    "ViT-B-32": "clip_b32_similarity_score",
    "ViT-B-32-quickgelu": "clip_b32_similarity_score",
    "ViT-L-14": "clip_l14_similarity_score",
    "ViT-L-14-quickgelu": "clip_l14_similarity_score",
}
"""DataComp's score columns are by these models with OpenAI's weights."""


TAKEN_AT = (
    "CASE WHEN json_valid(exif) THEN try_strptime(coalesce("
    """exif->>'$."EXIF DateTimeOriginal"', exif->>'$."EXIF DateTimeDigitized"'), """
    "'%Y:%m:%d %H:%M:%S') END"
)
"""Of a shard row; null where a camera said nothing, or what is no time."""


def pool_metadata(pool: Pool, partition: Key) -> Outcome:
    """Write one row for every unique pair of a partition, in the order of ``unique``.

    A pool that brings its own uids may repeat one: its n-th row among the pairs then belongs to
    its n-th row among the shard rows, which are in the order of the pairs. The urls of both are
    compared, so that a wrong match is an error.

    Memory: ``MEMORY_BYTES`` and ``BATCH_ROWS`` rows.

    Raises:
        MissingArtifactError: pairs, shards or embeddings of the partition are not done.
        AlignmentError: they are not of the same pairs.
    """
    return materialize(pool, POOL_METADATA, partition, _work)


def pool_metadata_inputs(pool: Pool, partition: Key) -> Inputs:
    """What a partition's metadata depends on."""
    read = pool.catalog
    has_embeddings = read.get(layout.EMBEDDINGS, partition) is not None
    # Without a head they are as they were before there were heads.
    has_head = bool(pool.settings.heads.aesthetic)
    own = {AESTHETIC.name: read.digest(AESTHETIC.name, partition)} if has_head else {}
    return own | {
        layout.UNIQUE_PAIRS: read.digest(layout.UNIQUE_PAIRS, partition, layout.unique),
        layout.IMAGE_SHARDS: read.digest(layout.IMAGE_SHARDS, partition, layout.shard_rows),
        layout.EMBEDDINGS: read.digest(
            layout.EMBEDDINGS, partition, layout.embedding_rows, layout.embedding_inputs
        ),
        "score_column": _own_score_column(pool) if has_embeddings else "",
    }


POOL_METADATA = Asset(
    layout.POOL_METADATA,
    "4",
    make=pool_metadata,
    inputs=pool_metadata_inputs,
    deps=(layout.UNIQUE_PAIRS, layout.IMAGE_SHARDS, layout.EMBEDDINGS, AESTHETIC.name),
    settings=("score_column",),
    rows_from=layout.UNIQUE_PAIRS,
)


def _own_score_column(pool: Pool) -> str:
    """The DataComp column that the store's own similarities belong to, empty if none."""
    model = pool.owner
    if model is None or model.pretrained != "openai":
        return ""
    return OPENAI_SCORES.get(model.name, "")


def _work(run: StageRun) -> Report:
    *joined, own = run.asset.deps
    pairs, shards, rows = (run.pool.catalog.require(name, run.partition) for name in joined)
    if run.pool.settings.heads.aesthetic:
        run.pool.catalog.require(own, run.partition)
    return _join(run, pairs, shards, rows, _own_score_column(run.pool))


def _join(
    run: StageRun, unique: Manifest, shards: Manifest, embedded: Manifest, column: str
) -> Report:
    from clip_assets.storage import sql

    with ExitStack() as stack:
        database = stack.enter_context(sql.connection(MEMORY_BYTES))
        local = [
            stack.enter_context(run.store.local(output.path))
            for output in shards.of_kind(layout.shard_rows)
        ]
        pairs = stack.enter_context(tables.local(run.store, unique, layout.unique))
        rows = stack.enter_context(tables.local(run.store, embedded, layout.embedding_rows))
        inputs = stack.enter_context(tables.local(run.store, embedded, layout.embedding_inputs))
        _declare(database, pairs, local)
        _declare_embedded(database, rows, inputs)
        _add_scores(database, _own_scores(run, stack))
        repeated = _check_alignment(database, run)
        _publish(run, _batches(database, run.partition, column))
        return _report(database, repeated, column)


def _declare(database: "DuckDBPyConnection", pairs: Path, shards: list[Path]) -> None:
    """Pairs and shards, each row with its place and its number among rows of its uid."""
    from clip_assets.storage.sql import literal, literals

    numbered = "row_number() OVER (PARTITION BY uid ORDER BY {order}) AS occurrence"
    database.execute(
        f"CREATE TABLE pairs AS SELECT *, {numbered.format(order='place')} FROM "
        f"(SELECT {', '.join(schemas.CANONICAL.names)}, file_row_number AS place FROM "
        f"read_parquet({literal(pairs)}, file_row_number = true))"
    )
    empty = "uid VARCHAR, url VARCHAR, key VARCHAR, status VARCHAR, error_class VARCHAR"
    sizes = "original_width INTEGER, original_height INTEGER, sha256 VARCHAR, opt_outs VARCHAR[]"
    database.execute(f"CREATE TABLE no_shards ({empty}, {sizes}, exif VARCHAR, filename VARCHAR)")
    source = "no_shards"
    if shards:  # those of earlier releases lack the youngest columns
        files = f"read_parquet({literals(shards)}, filename = true, union_by_name = true)"
        source = f"(FROM no_shards UNION ALL BY NAME FROM {files})"
    database.execute(
        "CREATE TABLE shards AS SELECT uid, url, key, status, error_class, original_width, "
        f"original_height, sha256, opt_outs, {TAKEN_AT} AS taken_at, "
        "parse_filename(filename, true) AS shard, "
        f"{numbered.format(order='parse_filename(filename, true), key')} FROM {source}"
    )


def _declare_embedded(database: "DuckDBPyConnection", rows: Path, inputs: Path) -> None:
    """What was embedded; inputs of a release before have no column, or are not there."""
    from clip_assets.storage.sql import literal

    is_told = "is_caption_cut" in pq.read_schema(inputs).names
    cut = "is_caption_cut" if is_told else "NULL::BOOLEAN AS is_caption_cut"
    database.execute(
        f"CREATE TABLE embedded AS SELECT uid, key, similarity, is_caption_cut "
        f"FROM (SELECT uid, key, similarity, file_row_number AS place "
        f"FROM read_parquet({literal(rows)}, file_row_number = true)) "
        f"LEFT JOIN (SELECT {cut}, file_row_number AS place "
        f"FROM read_parquet({literal(inputs)}, file_row_number = true)) USING (place)"
    )


def _own_scores(run: StageRun, stack: ExitStack) -> Path | None:
    """Scores by the pool's own head, if it has one and they are made."""
    made = run.pool.catalog.get(AESTHETIC.name, run.partition)
    if made is None or not run.pool.settings.heads.aesthetic:
        return None
    return stack.enter_context(tables.local(run.store, made, aesthetic_scores))


def _add_scores(database: "DuckDBPyConnection", scores: Path | None) -> None:
    from clip_assets.storage.sql import literal

    source = "(SELECT '' AS uid, '' AS key, NULL::FLOAT AS aesthetic)"
    if scores is not None:
        source = f"read_parquet({literal(scores)})"
    database.execute(f"CREATE TABLE scored AS SELECT uid, key, aesthetic FROM {source}")


def _check_alignment(database: "DuckDBPyConnection", run: StageRun) -> int:
    """Make sure that the tables speak of the same pairs.

    Returns:
        How many rows have a uid that an earlier row of the partition has.
    """
    [(lacking, strange, unknown, repeated)] = database.execute(
        "SELECT (SELECT count(*) FROM pairs ANTI JOIN shards USING (uid, occurrence, url)), "
        "(SELECT count(*) FROM shards ANTI JOIN pairs USING (uid, occurrence, url)), "
        "(SELECT count(*) FROM embedded ANTI JOIN shards USING (uid, key)), "
        "(SELECT count(*) FROM pairs WHERE occurrence > 1)"
    ).fetchall()
    if lacking or strange or unknown:
        raise AlignmentError(
            run.name,
            f"{lacking:,} pairs without a shard row, {strange:,} shard rows without a pair, "
            f"{unknown:,} embeddings without a shard row",
            "rows of the same pairs",
            f"Run: clip-assets run --select {layout.IMAGE_SHARDS}+ --partitions {run.partition}",
        )
    return repeated


def _batches(
    database: "DuckDBPyConnection", partition: PartitionKey, column: str
) -> Iterator[pa.RecordBatch]:
    own = {
        name: f"coalesce(pairs.{name}, embedded.similarity)" if name == column else f"pairs.{name}"
        for name in ("clip_b32_similarity_score", "clip_l14_similarity_score")
    }
    chosen = {
        "uid": "pairs.uid",
        "url": "pairs.url",
        "text": "pairs.caption",
        "original_width": "shards.original_width",
        "original_height": "shards.original_height",
        **own,
        "face_bboxes": "pairs.face_bboxes",
        "sha256": "shards.sha256",
        "clip_similarity_score": "embedded.similarity",
        "status": "shards.status",
        "error_class": "shards.error_class",
        "nsfw": "pairs.nsfw",
        "license": "pairs.license",
        "language": "pairs.language",
        "similarity": "pairs.similarity",
        "punsafe": "pairs.punsafe",
        "pwatermark": "pairs.pwatermark",
        "aesthetic": "coalesce(scored.aesthetic, pairs.aesthetic)",
        "shard": f"'{partition}/' || shards.shard",
        "key": "shards.key",
        "opt_outs": "shards.opt_outs",
        "is_caption_cut": "embedded.is_caption_cut",
        "taken_at": "shards.taken_at",
    }
    columns = ", ".join(f"{chosen[name]} AS {name}" for name in schemas.POOL_ROWS.names)
    joined = database.sql(
        f"SELECT {columns} FROM pairs JOIN shards USING (uid, occurrence) "
        "LEFT JOIN embedded ON embedded.uid = shards.uid AND embedded.key = shards.key "
        "LEFT JOIN scored ON scored.uid = shards.uid AND scored.key = shards.key "
        "ORDER BY pairs.place"
    )
    reader = joined.to_arrow_reader(BATCH_ROWS)
    assert reader is not None
    yield from reader


def _publish(run: StageRun, batches: Iterator[pa.RecordBatch]) -> None:
    path = layout.pool_rows(run.partition)
    with (
        run.publish(path) as part,
        pq.ParquetWriter(part, schemas.POOL_ROWS, compression=tables.COMPRESSION) as writer,
    ):
        for batch in batches:
            table = pa.Table.from_batches([batch])
            writer.write_table(tables.conform(table, schemas.POOL_ROWS, path))


def _report(database: "DuckDBPyConnection", repeated: int, column: str) -> Report:
    statuses = dict(
        database.execute("SELECT status, count(*) FROM shards GROUP BY 1 ORDER BY 1").fetchall()
    )
    faults = database.execute(
        "SELECT error_class, count(*) FROM shards WHERE error_class IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    [(embedded, cut)] = database.execute(
        "SELECT count(*), count(*) FILTER (is_caption_cut) FROM embedded"
    ).fetchall()
    rows = sum(statuses.values())
    return Report(
        rows_in=rows,
        rows_out=rows,
        figures={
            "rows_by_status": statuses,
            "rows_by_error_class": dict(faults),
            "rows_with_similarity": embedded,
            "rows_with_caption_cut": cut,
            "rows_with_repeated_uid": repeated,
            "similarity_also_written_as": column or "none",
        },
    )
