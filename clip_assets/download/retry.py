"""Another attempt at what failed for a reason that may have passed.

Only rows with a transient error class are fetched again; shards with such rows are written
anew around the images they have, whose bytes do not change, and all other shards are left
alone. A retry that was killed goes on where it was, with the next one or the next download.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from clip_assets import layout
from clip_assets.download import plans
from clip_assets.download.faults import TRANSIENT
from clip_assets.download.plans import Due, Plan
from clip_assets.download.shards import (
    IMAGE_SHARDS,
    fetch_shards,
    image_shards,
    image_shards_inputs,
)
from clip_assets.layout import PartitionKey
from clip_assets.settings import Download
from clip_assets.storage import tables
from clip_assets.storage.manifests import Artifact, Catalog, Manifest, Report
from clip_assets.storage.stages import Outcome, StageRun, materialize
from clip_assets.storage.store import Store


def retry_failed(catalog: Catalog, partition: PartitionKey, settings: Download) -> Outcome:
    """Fetch again what failed transiently in a finished partition.

    A partition whose inputs have changed since is downloaded anew instead, and one whose retry
    was killed is finished as that retry set out.

    Returns:
        The new manifest; ``reused`` when there is nothing to retry. Its digest changes only
        with the tars that gained images.

    Raises:
        MissingArtifactError: the partition's images have not been downloaded yet.
        DownloadError: the network of this machine is at fault; nothing is lost.
    """
    before = catalog.require(IMAGE_SHARDS.asset, partition)
    inputs = image_shards_inputs(catalog, partition, settings)
    if (before.inputs, before.code_version) != (inputs, IMAGE_SHARDS.version):
        return image_shards(catalog, partition, settings)
    if not _due(catalog.store, partition, before, settings):
        return Outcome(before, reused=True)
    return materialize(
        catalog,
        IMAGE_SHARDS,
        partition,
        inputs,
        lambda run: _work(run, settings, inputs),
        again=True,
    )


def _work(run: StageRun, settings: Download, inputs: dict[str, str]) -> Report:
    unchanged: Mapping[str, Artifact] = {}
    # Under the lock: another process may have retried meanwhile, and may have been killed.
    plan = plans.read(run)
    if plan is None or plan.inputs != inputs:
        before = Catalog(run.store).require(IMAGE_SHARDS.asset, run.partition)
        due = _due(run.store, run.partition, before, settings)
        plans.write(run, Plan(inputs, due, before.report.rows_out))
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
        table = tables.read(store, path, layout.SHARD_ROWS, IMAGE_SHARDS.asset, columns)
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
