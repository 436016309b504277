"""Another attempt at what failed for a reason that may have passed.

Only rows of the classes in ``fetch.faults.MAY_PASS`` or of those asked for, and those that an
owner's word kept from us while the settings obeyed it and no longer do, are fetched again; shards
with such rows are written anew around the images they have, whose bytes do not change, and all
other shards are left alone. A retry that was killed goes on where it was, with the next one or
the next download; on a local store no url that it fetched is fetched once more.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from clip_assets import layout, schemas
from clip_assets.download import intents
from clip_assets.download.fetch.faults import MAY_PASS
from clip_assets.download.fetch.signals import lifted
from clip_assets.download.image_shards import IMAGE_SHARDS, fetch_shards, image_shards, taking_over
from clip_assets.download.intents import Due, Plan
from clip_assets.layout import Key
from clip_assets.pool.asset import Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, current, materialize
from clip_assets.settings import DownloadSettings
from clip_assets.storage import tables
from clip_assets.storage.manifests import Manifest, Output, Report
from clip_assets.storage.store import Store


def retry_failed(pool: Pool, partition: Key, classes: Collection[str] = ()) -> Outcome:
    """``image_shards``, and in a finished partition also what failed and may have passed.

    A retry that was killed is finished as it set out.

    Args:
        pool: the pool.
        partition: its partition.
        classes: error classes to fetch again, of any kind; none: all that may have passed.

    Returns:
        The new manifest; ``reused`` when there is nothing to retry. Its digest changes only
        with the tars that gained images.

    Raises:
        MissingArtifactError: the partition has no unique pairs yet.
        DownloadError: the network of this machine is at fault; nothing is lost.
    """
    if taking_over(pool, partition) or not due_urls(pool, partition, classes):
        return image_shards(pool, partition)
    work = partial(_work, classes=classes)
    return materialize(pool, IMAGE_SHARDS, partition, work, again=True)


def due_urls(pool: Pool, partition: Key, classes: Collection[str] = ()) -> int:
    """How many urls of a finished partition may be fetched again; 0 if it is not finished."""
    finished = current(pool, IMAGE_SHARDS, partition)
    if finished is None:
        return 0
    due = _due(pool.store, partition, finished.manifest, pool.settings.download, classes)
    return sum(len(rows) for rows in due.values())


def _work(run: StageRun, classes: Collection[str]) -> Report:
    unchanged: Mapping[str, Output] = {}
    # Under the lock: another process may have retried meanwhile, and may have been killed.
    plan = intents.read(run)
    inputs = run.asset.made_from(run.pool, run.key)
    if plan is None or plan.inputs != inputs:
        before = run.pool.renewed().catalog.require(run.asset.name, run.partition)
        due = _due(run.store, run.partition, before, run.pool.settings.download, classes)
        intents.begin(run, Plan(inputs, due, before.report.rows_out))
        unchanged = {output.path: output for output in before.outputs}
    return fetch_shards(run, unchanged)


def _due(
    store: Store,
    partition: Key,
    manifest: Manifest,
    settings: DownloadSettings,
    asked: Collection[str],
) -> Due:
    """What is fetched again: it may have passed, was not too often tried, is old enough."""
    latest = datetime.now(UTC) - timedelta(seconds=settings.retry_age_s)
    columns = ["error_class", "attempts", "fetched_at"]
    classes = set(asked) or MAY_PASS.keys() | lifted(settings)
    due: Due = {}
    for number in range(len(manifest.of_kind(layout.shard_stats))):
        path = layout.shard_rows(partition, number)
        table = tables.read(store, path, schemas.SHARD_ROWS, columns)
        rows = {
            position: row["attempts"]
            for position, row in enumerate(table.to_pylist())
            if row["error_class"] in classes
            and row["attempts"] < settings.retry_limit
            and (row["fetched_at"] is None or row["fetched_at"] <= latest)
        }
        if rows:
            due[number] = rows
    return due
