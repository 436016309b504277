"""Another attempt at what failed for a reason that may have passed.

Only rows with a transient error class are fetched again; shards with such rows are written
anew around the images they have, whose bytes do not change, and all other shards are left
alone. A retry that was killed goes on where it was, with the next one or the next download.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from clip_assets import layout, schemas
from clip_assets.download import intents
from clip_assets.download.fetch.faults import TRANSIENT
from clip_assets.download.image_shards import (
    IMAGE_SHARDS,
    fetch_shards,
    image_shards,
    image_shards_inputs,
)
from clip_assets.download.intents import Due, Plan
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, StageRun, current, materialize
from clip_assets.settings import Download
from clip_assets.storage import tables
from clip_assets.storage.manifests import Artifact, Catalog, Manifest, Report
from clip_assets.storage.store import Store


def retry_failed(catalog: Catalog, partition: PartitionKey, settings: Download) -> Outcome:
    """``image_shards``, and in a finished partition also what failed transiently.

    A retry that was killed is finished as it set out.

    Returns:
        The new manifest; ``reused`` when there is nothing to retry. Its digest changes only
        with the tars that gained images.

    Raises:
        MissingArtifactError: the partition has no unique pairs yet.
        DownloadError: the network of this machine is at fault; nothing is lost.
    """
    if not is_due(catalog, partition, settings):
        return image_shards(catalog, partition, settings)
    inputs = image_shards_inputs(catalog, partition, settings)
    return materialize(
        catalog,
        IMAGE_SHARDS,
        partition,
        inputs,
        lambda run: _work(run, settings, inputs),
        again=True,
    )


def is_due(catalog: Catalog, partition: PartitionKey, settings: Download) -> bool:
    """Whether a partition is finished and has urls that may be fetched again."""
    inputs = image_shards_inputs(catalog, partition, settings)
    finished = current(catalog, IMAGE_SHARDS, partition, inputs)
    return bool(finished and _due(catalog.store, partition, finished.manifest, settings))


def _work(run: StageRun, settings: Download, inputs: dict[str, str]) -> Report:
    unchanged: Mapping[str, Artifact] = {}
    # Under the lock: another process may have retried meanwhile, and may have been killed.
    plan = intents.read(run)
    if plan is None or plan.inputs != inputs:
        before = Catalog(run.store).require(IMAGE_SHARDS.asset, run.partition)
        due = _due(run.store, run.partition, before, settings)
        intents.write(run, Plan(inputs, due, before.report.rows_out))
        unchanged = {output.path: output for output in before.outputs}
    return fetch_shards(run, settings, inputs, unchanged)


def _shards(manifest: Manifest) -> int:
    return sum(output.path.endswith("_stats.json") for output in manifest.outputs)


def _due(store: Store, partition: PartitionKey, manifest: Manifest, settings: Download) -> Due:
    """What may be fetched again: transient, not too often tried, old enough."""
    latest = datetime.now(UTC) - timedelta(seconds=settings.retry_age_s)
    columns = ["error_class", "attempts", "fetched_at"]
    due: Due = {}
    for number in range(_shards(manifest)):
        path = layout.shard_rows(partition, number)
        table = tables.read(store, path, schemas.SHARD_ROWS, IMAGE_SHARDS.asset, columns)
        rows = {
            position: row["attempts"]
            for position, row in enumerate(table.to_pylist())
            if row["error_class"] in TRANSIENT
            and row["attempts"] < settings.retry_limit
            and row["fetched_at"] <= latest
        }
        if rows:
            due[number] = rows
    return due
