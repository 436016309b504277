"""Shards that are gone or damaged, fetched again; sound ones are left alone.

What a web server sends today need not be what it sent then, and rows tell when they were fetched.
So this is no making again of the same bytes: the partition gets a new manifest, and what is made
from files that became others is stale.
"""

from collections.abc import Collection
from functools import partial

import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.download import intents
from clip_assets.download.image_shards import IMAGE_SHARDS, fetch_shards, taking_over
from clip_assets.download.intents import Due, Plan
from clip_assets.download.shard import SUCCESS, shard_files, stats_of
from clip_assets.errors import DamagedError
from clip_assets.layout import Key
from clip_assets.pool.asset import Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import Manifest, Report
from clip_assets.webdataset.tar_index import indexed, write_index
from clip_assets.webdataset.write import end_tar


def fetch_damaged(pool: Pool, partition: Key, damaged: Collection[str]) -> Outcome:
    """Make the damaged files of a partition's shards sound.

    Of a tar alone, the urls that gave an image are fetched again; other rows stay as they are. Of
    a table, everything in its shard. Stats are counted from the table, and pictures drawn, without
    a request.

    Args:
        pool: the pool.
        partition: which one; it is done, from today's inputs.
        damaged: paths.

    Raises:
        MissingArtifactError: the partition is not done.
        DamagedError: so are its unique pairs.
        DownloadError: the network of this machine is at fault; nothing is lost.
    """
    before = pool.catalog.require(layout.IMAGE_SHARDS, partition)
    fetch = partial(_work, before=before, damaged=frozenset(damaged))
    # What others made is taken over again, all of it.
    work = taking_over(pool, partition) or fetch
    return materialize(pool, IMAGE_SHARDS, partition, work, again=True)


def record_again(pool: Pool, partition: Key) -> Outcome:
    """Record anew what a partition's published shards hold, without a request.

    For a partition whose manifest is lost. That its shards are of today's pairs is compared; that
    they are of today's settings, nothing tells any more.

    Raises:
        DamagedError: a shard is incomplete, or of other pairs.
    """
    return materialize(pool, IMAGE_SHARDS, partition, _record, again=True)


def _record(run: StageRun) -> Report:
    made = run.pool.catalog.require(layout.UNIQUE_PAIRS, run.partition)
    with tables.local(run.store, made, layout.unique) as file:
        pairs = pq.read_table(file, columns=["uid"])["uid"].to_pylist()
    size = run.pool.settings.download.samples_per_shard
    for number, start in enumerate(range(0, len(pairs), size)):
        files = shard_files(run.partition, number)
        uids = None
        if all(map(run.store.exists, files)):
            uids = tables.read(run.store, files[1], schemas.SHARD_ROWS, ["uid"])["uid"].to_pylist()
        if uids != pairs[start : start + size]:
            raise DamagedError(
                run.store.uri(files[1]),
                "no whole shard" if uids is None else "rows of other pairs",
                f"those of {layout.UNIQUE_PAIRS} {run.partition}",
                f"Remove {layout.manifest(layout.IMAGE_SHARDS, run.partition)}, then run again: "
                "every url of the partition is asked again.",
            )
    intents.begin(run, Plan(run.asset.made_from(run.pool, run.key)))
    return fetch_shards(run)


def shards_to_fetch(damaged: Collection[str]) -> int:
    """Of how many shards urls have to be fetched again."""
    lost = [p for p in damaged if layout.shard_tar.holds(p) or layout.shard_rows.holds(p)]
    return len({path.rpartition(".")[0] for path in lost})


def _work(run: StageRun, before: Manifest, damaged: frozenset[str]) -> Report:
    due: Due = {}
    for number in range(len(before.of_kind(layout.shard_stats))):
        tar, table, stats = shard_files(run.partition, number)
        if table in damaged:
            # Nothing says which urls failed, and how.
            run.store.delete(stats)
            continue
        if stats in damaged:
            _count_again(run, table, stats)
        if tar in damaged:
            due |= _with_image(run, number)
        elif layout.tar_index(run.partition, number) in damaged:
            _index_again(run, number)
    plan = Plan(run.asset.made_from(run.pool, run.key), due, before.report.rows_out)
    intents.begin(run, plan)
    sound = {output.path: output for output in before.outputs if output.path not in damaged}
    return fetch_shards(run, sound)


def _with_image(run: StageRun, number: int) -> Due:
    """The rows of a shard's tar; one without any is written here."""
    tar, table, _ = shard_files(run.partition, number)
    rows = tables.read(run.store, table, schemas.SHARD_ROWS, ["status", "attempts"]).to_pylist()
    due = {p: row["attempts"] for p, row in enumerate(rows) if row["status"] == SUCCESS}
    if due:
        return {number: due}
    with run.publish(tar) as part, part.open("wb") as file:
        end_tar(file)
    return {}


def _index_again(run: StageRun, number: int) -> None:
    """Write a shard's tar index by its tar and its rows."""
    tar, table, _ = shard_files(run.partition, number)
    rows = tables.read(run.store, table, schemas.SHARD_ROWS, ["key", "uid"])
    uids = dict(zip(*(rows[name].to_pylist() for name in ("key", "uid")), strict=True))
    with run.store.local(tar) as path, path.open("rb") as file:
        index = indexed(file, run.store.uri(tar), lambda key, _: uids[key])
    with run.publish(layout.tar_index(run.partition, number)) as part:
        write_index(part, index)


def _count_again(run: StageRun, table: str, stats: str) -> None:
    """Write a shard's stats by its rows; of the times, what those tell."""
    with run.store.local(table) as file:
        rows = pq.read_table(file, columns=["status", "error_message", "fetched_at"]).to_pylist()
    times = [row["fetched_at"].timestamp() for row in rows if row["fetched_at"]]
    with run.publish(stats) as part:
        part.write_text(stats_of(rows, min(times, default=0.0), max(times, default=0.0)))
