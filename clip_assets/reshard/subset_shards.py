"""The asset ``subset_shards``: the samples of a subset in shards of their own, to train on.

Only of subsets that ``subset_shards`` of the settings names: it is a copy of their images. How
samples get from tars into tars is told in ``plan`` and ``output``.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import MissingArtifactError
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import upstream
from clip_assets.reshard.output import write_shards
from clip_assets.reshard.plan import CopyPlan, plan_of
from clip_assets.reshard.subset_file import read_subset
from clip_assets.storage.manifests import Report
from clip_assets.webdataset.indices import Tar


def subset_shards(pool: Pool, name: Key) -> Outcome:
    """Copy the samples of a subset into shards, if the settings ask for them.

    Memory: 16 bytes for each uid, 50 for each sample, and some 20 MB for each core.

    Raises:
        MissingArtifactError: the subset was not made.
        SchemaError: a tar of the pool is damaged.
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
    return {"shards": asked.model_dump_json(), layout.SUBSETS: uids} | used


SUBSET_SHARDS = Asset(
    layout.SUBSET_SHARDS,
    "1",
    make=subset_shards,
    inputs=subset_shards_inputs,
    axis="subset",
    deps=(layout.SUBSETS, layout.IMAGE_SHARDS),
    settings=("shards",),
)


def _write(run: StageRun) -> Report:
    asked = run.pool.settings.subset_shards.get(run.key)
    listed = run.pool.catalog.require(layout.SUBSETS, run.key).report.rows_out
    if asked is None or not listed:
        return Report(0, 0, figures={"asked_for": asked is not None})
    wanted = read_subset(run.store.uri(layout.subset(run.key)))
    workers = len(os.sched_getaffinity(0))
    tars = list(_tars(run.pool))
    with ThreadPoolExecutor(workers) as executor:
        plan = plan_of(tars, wanted, executor, asked.seed)
    output = _Shards(run)
    output.begin(plan, asked.shard_size)
    kept = write_shards(output, plan, wanted, asked.shard_size, workers)
    rows = int(wanted.times.sum())
    missing = int(wanted.times[plan.is_missing].sum())
    figures = {
        "asked_for": True,
        "shards": -(-len(plan) // asked.shard_size),
        "shards_kept": kept,
        "bytes": plan.content_bytes,
    }
    return Report(rows, len(plan), {"no_image": missing}, figures)


def _tars(pool: Pool) -> Iterator[Tar]:
    """The tars of every partition whose images were fetched, in order."""
    for partition in upstream(pool, layout.IMAGE_SHARDS).done:
        tars = pool.catalog.require(layout.IMAGE_SHARDS, partition).of_kind(layout.shard_tar)
        paths = sorted(output.path for output in tars)
        for number in range(len(paths)):
            assert paths[number] == layout.shard_tar(partition, number)
            yield Tar.of_shard(pool.store, partition, number)


@dataclass(frozen=True, slots=True)
class _Shards:
    """The shards of a subset as an output; those that a killed run of the same plan finished stay.

    Args:
        run: of the subset.
    """

    run: StageRun

    def begin(self, plan: CopyPlan, shard_size: int) -> None:
        """Let shards of another plan no longer count as whole."""
        if self.run.to_mend:
            return
        path = f"{self.run.work_folder}/plan"
        begun = f"{plan.digest()} {shard_size}".encode()
        try:
            is_same = self.run.store.read_bytes(path) == begun
        except MissingArtifactError:
            is_same = False
        if not is_same:
            self.run.store.delete(layout.subset_shard_folder(self.run.key))
            self.run.store.write_bytes(path, begun)

    def whole(self) -> set[int]:
        """Shards that have their stats, which are outputs of this run then."""
        numbers: set[int] = set()
        for path in self.run.store.list(layout.subset_shard_folder(self.run.key)):
            if not layout.subset_tar_stats.holds(path):
                continue
            number = int(Path(path).name.partition("_")[0])
            files = {layout.subset_tar(self.run.key, number), path}
            if self.run.to_mend & files:
                continue
            numbers.add(number)
            for file in sorted(files) if not self.run.to_mend else ():
                self.run.adopt(file)
        return numbers

    def publish_tar(self, number: int) -> AbstractContextManager[Path]:
        """A tar of the subset."""
        return self.run.publish(layout.subset_tar(self.run.key, number))

    def publish_stats(self, number: int) -> AbstractContextManager[Path]:
        """Its stats."""
        return self.run.publish(layout.subset_tar_stats(self.run.key, number))
