"""Another attempt at what failed for a reason that may have passed.

Only rows with a transient error class are fetched again; shards with such rows are written
anew around the images they have, whose bytes do not change, and all other shards are left
alone. A kill leaves every shard as it was or as it will be.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.download.faults import TRANSIENT
from clip_assets.download.pipeline import download
from clip_assets.download.report import partition_report
from clip_assets.download.samples import SUCCESS, Row, Shard, shard_files
from clip_assets.download.shards import (
    IMAGE_SHARDS,
    image_shards,
    image_shards_inputs,
    read_shards,
)
from clip_assets.layout import PartitionKey
from clip_assets.settings import Download
from clip_assets.storage import tables
from clip_assets.storage.manifests import Catalog, Manifest, Report
from clip_assets.storage.stages import Outcome, StageRun, materialize
from clip_assets.storage.store import Store

Due = dict[int, list[int]]
"""Positions to fetch again, by shard."""


def retry_failed(catalog: Catalog, partition: PartitionKey, settings: Download) -> Outcome:
    """Fetch again what failed transiently in a finished partition.

    A partition whose inputs have changed since is downloaded anew instead.

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
        catalog, IMAGE_SHARDS, partition, inputs, lambda run: _work(run, settings), again=True
    )


def _work(run: StageRun, settings: Download) -> Report:
    # Read under the lock: another process may have retried meanwhile.
    before = Catalog(run.store).require(IMAGE_SHARDS.asset, run.partition)
    due = _due(run.store, run.partition, before, settings)
    for output in before.outputs:
        run.keep(output)
    with run.store.local(layout.unique(run.partition), "unique_pairs") as file:
        shards = (
            _restored(run, shard, due[shard.number]) for shard in read_shards(file, due, settings)
        )
        download(shards, settings, lambda shard: shard.publish(run))
    report = partition_report(run, range(_shards(before)))
    retried = sum(len(positions) for positions in due.values())
    recovered = report.rows_out - before.report.rows_out
    return replace(report, figures=report.figures | {"retried": retried, "recovered": recovered})


def _shards(manifest: Manifest) -> int:
    return sum(output.path.endswith("_stats.json") for output in manifest.outputs)


def _due(store: Store, partition: PartitionKey, manifest: Manifest, settings: Download) -> Due:
    """What may be fetched again: transient, not too often tried, old enough."""
    latest = datetime.now(UTC) - timedelta(seconds=settings.retry_age_s)
    columns = ["error_class", "attempts", "fetched_at"]
    due: Due = {}
    for number in range(_shards(manifest)):
        path = layout.shard_rows(partition, number)
        rows = tables.read(store, path, layout.SHARD_ROWS, IMAGE_SHARDS.asset, columns)
        positions = [
            position
            for position, row in enumerate(rows.to_pylist())
            if row["error_class"] in TRANSIENT
            and row["attempts"] < settings.retry_limit
            and row["fetched_at"] <= latest
        ]
        if positions:
            due[number] = positions
    return due


def _restored(run: StageRun, shard: Shard, due: list[int]) -> Shard:
    """A shard with all its published results but those that are due."""
    tar, table, _ = shard_files(run.partition, shard.number)
    with run.store.local(table) as file:
        rows: list[Row] = pq.read_table(file).to_pylist()
    for position in due:
        shard.expect_again(position, rows[position]["attempts"])
    for position in set(range(len(rows))) - set(due):
        if rows[position]["status"] != SUCCESS:
            shard.restore(position, rows[position], None)
    for position, image in _images(run.store, tar, {row["key"]: i for i, row in enumerate(rows)}):
        if rows[position]["status"] == SUCCESS:
            shard.restore(position, rows[position], image)
    return shard


def _images(store: Store, path: str, positions: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    """Every image of a published tar with its sample's position."""
    with store.local(path) as file, tarfile.open(file) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            content = tar.extractfile(member)
            if suffix not in ("json", "txt") and content is not None:
                yield positions[key], content.read()
