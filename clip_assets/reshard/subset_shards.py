"""The asset ``subset_shards``: the samples of a subset in shards of their own, to train on.

Only of subsets that ``subset_shards`` of the settings names: it is a copy of their images. How
samples get from tars into tars is told in ``plan`` and ``output``, which shards are there already
in ``kept_shards``.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clip_assets import layout
from clip_assets.files.identity import looked_at
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import upstream
from clip_assets.reshard.changes import Changes, changes_of, metadata_files
from clip_assets.reshard.kept_shards import KeptShards
from clip_assets.reshard.output import WORKERS, shards, write_shards
from clip_assets.reshard.plan import plan_of
from clip_assets.reshard.subset_file import WantedUids, read_subset
from clip_assets.settings import SubsetShardSettings
from clip_assets.storage.manifests import Output, Report
from clip_assets.webdataset.indices import Tar


def subset_shards(pool: Pool, name: Key) -> Outcome:
    """Copy the samples of a subset into shards, if the settings ask for them.

    Memory: 16 bytes for each uid, 60 for each sample, some 25 MB for each core, and the columns
    that are put into samples.

    Raises:
        MissingArtifactError: the subset was not made.
        SchemaError: a tar of the pool is damaged.
        SourceFormatError: a column is not in the metadata.
        ConfigurationError: faces are to be blurred, and a uid has no row in the metadata.
    """
    pool.catalog.require(layout.SUBSETS, name)
    return materialize(pool, SUBSET_SHARDS, name, _write)


def subset_shards_inputs(pool: Pool, name: Key) -> Inputs:
    """What the shards of a subset are made from: its uids, the tars of all partitions, and how."""
    asked = pool.settings.subset_shards.get(name)
    if asked is None:
        return {"shards": "none"}
    used = {
        f"{layout.IMAGE_SHARDS}/{p}": pool.catalog.digest(layout.IMAGE_SHARDS, p, layout.shard_tar)
        for p in upstream(pool, layout.IMAGE_SHARDS).done
    }
    uids = pool.catalog.digest(layout.SUBSETS, name, layout.subset)
    inputs = {"shards": asked.told(), layout.SUBSETS: uids} | used
    if asked.metadata:
        return inputs | {"metadata": _told_of(asked.metadata)}
    if asked.changes_samples:
        for p in upstream(pool, layout.POOL_METADATA).done:
            inputs[f"{layout.POOL_METADATA}/{p}"] = pool.catalog.digest(layout.POOL_METADATA, p)
    return inputs


SUBSET_SHARDS = Asset(
    layout.SUBSET_SHARDS,
    "2",
    make=subset_shards,
    inputs=subset_shards_inputs,
    axis="subset",
    deps=(layout.SUBSETS, layout.IMAGE_SHARDS, layout.POOL_METADATA),
    settings=("shards", "metadata"),
)


def _write(run: StageRun) -> Report:
    asked = run.pool.settings.subset_shards.get(run.key)
    listed = run.pool.catalog.require(layout.SUBSETS, run.key).report.rows_out
    if asked is None or not listed:
        if not run.to_mend:
            run.store.delete(layout.subset_shard_folder(run.key))
        return Report(0, 0, figures={"asked_for": asked is not None})
    wanted = read_subset(run.store.uri(layout.subset(run.key)))
    tars = list(_tars(run.pool))
    with ThreadPoolExecutor(WORKERS) as executor:
        plan = plan_of([tar for tar, _ in tars], wanted, executor, asked.seed)
    changes = _changes(run.pool, asked, wanted)
    contents = [output.sha256 for _, output in tars]
    made_from: list[str] = []
    for samples in shards(len(plan), asked.shard_size):
        digest = plan.digest_of(samples, contents, wanted.chosen)
        if changes is not None:
            digest += changes.digest_of(plan.place[samples.start : samples.stop])
        made_from.append(hashlib.sha256(digest.encode()).hexdigest())
    output = KeptShards(run, made_from)
    output.remove_others()
    kept = write_shards(output, plan, wanted, asked.shard_size, WORKERS, changes)
    rows = int(wanted.times.sum())
    missing = int(wanted.times[plan.is_missing].sum())
    figures = {
        "asked_for": True,
        "shards": len(made_from),
        "shards_kept": kept,
        "bytes": plan.content_bytes,
    }
    return Report(rows, len(plan), {"no_image": missing}, figures)


def _tars(pool: Pool) -> Iterator[tuple[Tar, Output]]:
    """The tars of every partition whose images were fetched, in order."""
    for partition in upstream(pool, layout.IMAGE_SHARDS).done:
        tars = pool.catalog.require(layout.IMAGE_SHARDS, partition).of_kind(layout.shard_tar)
        for number, tar in enumerate(sorted(tars, key=lambda output: output.path)):
            assert tar.path == layout.shard_tar(partition, number)
            yield Tar.of_shard(pool.store, partition, number), tar


def _changes(pool: Pool, asked: SubsetShardSettings, wanted: WantedUids) -> Changes | None:
    """What of samples is changed, by the pool's metadata unless others are named."""
    if not asked.changes_samples:
        return None
    files = [
        pool.store.uri(output.path)
        for partition in upstream(pool, layout.POOL_METADATA).done
        for output in pool.catalog.require(layout.POOL_METADATA, partition).of_kind(
            layout.pool_rows
        )
    ]
    if asked.metadata:
        files = metadata_files(asked.metadata)
    return changes_of(wanted, files, asked.columns, blur=asked.blur_faces)


def _told_of(metadata: str) -> str:
    """What says that local metadata are others; remote ones are taken for lasting."""
    if not Path(metadata).exists():
        return metadata
    told = "\n".join(f"{file} {looked_at(file).etag}" for file in metadata_files(metadata))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
