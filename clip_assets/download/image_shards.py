"""The asset ``image_shards``: the images of a partition's pairs in webdataset shards.

Here a partition is cut into shards, finished shards of a killed run are kept, and the whole is
reported. How urls become rows is told in ``pipeline``, what a shard's files hold in
``shard``.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.download import adopted_rows, adopted_shards, intents
from clip_assets.download.further import Further
from clip_assets.download.intents import Plan
from clip_assets.download.pipeline import download
from clip_assets.download.report import partition_report
from clip_assets.download.shard import Row, Shard, shard_files
from clip_assets.download.shard_columns import kept_columns, pair_columns
from clip_assets.download.taken_down import left_out
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.settings import DownloadSettings
from clip_assets.storage import tables
from clip_assets.storage.manifests import Output, Report

logger = logging.getLogger(__name__)

OUTPUT_SETTINGS = {
    "image_size",
    "resize_mode",
    "resize_only_if_bigger",
    "encode_format",
    "encode_quality",
    "skip_reencode",
    "min_image_size",
    "max_aspect_ratio",
    "extract_exif",
    "compute_hash",
    "perceptual_hash",
    "verify_hash",
    "blur_faces",
    "save_additional_columns",
    "samples_per_shard",
}
"""Settings that decide what a fetched image becomes; the others only decide how it is fetched."""


def image_shards(pool: Pool, partition: Key) -> Outcome:
    """Download the images of a partition's unique pairs.

    Memory: three shards of rows, and the bodies and images in flight, whatever the
    partition's size; see ``pipeline``.

    Raises:
        MissingArtifactError: the partition has no unique pairs yet.
        DownloadError: the network of this machine is at fault.
    """
    pool.catalog.require(layout.UNIQUE_PAIRS, partition)
    return materialize(pool, IMAGE_SHARDS, partition, taking_over(pool, partition) or fetch_shards)


def taking_over(pool: Pool, partition: Key) -> Callable[[StageRun], Report] | None:
    """What makes the shards of a partition that others made something of; None of any other."""
    plan = pool.plans.get(partition)
    if plan is None or plan.adopted is None:
        return None
    return adopted_rows.pass_on if plan.adopted.model else adopted_shards.copy_shards


def image_shards_inputs(pool: Pool, partition: Key) -> Inputs:
    """What a partition's shards are made from: its pairs, and the settings that shape them.

    Of a partition that takes over what others made, no setting shapes anything.
    """
    if taking_over(pool, partition):
        pairs = pool.catalog.digest(layout.UNIQUE_PAIRS, partition)
        return {layout.UNIQUE_PAIRS: pairs, "settings": adopted_rows.ADOPTED}
    return {
        layout.UNIQUE_PAIRS: pool.catalog.digest(layout.UNIQUE_PAIRS, partition),
        "settings": pool.settings.download.model_dump_json(include=OUTPUT_SETTINGS),
    }


IMAGE_SHARDS = Asset(
    layout.IMAGE_SHARDS,
    "2",
    make=image_shards,
    inputs=image_shards_inputs,
    deps=(layout.UNIQUE_PAIRS,),
    settings=("settings",),
    rows_from=layout.UNIQUE_PAIRS,
)


def fetch_shards(run: StageRun, unchanged: Mapping[str, Output] = MappingProxyType({})) -> Report:
    """Fetch what a partition lacks of its plan: missing shards, or rows of a retry.

    Args:
        run: of the partition; its plan, if it has one for these inputs, is followed.
        unchanged: files that need not be read to know what they hold.
    """
    settings = run.pool.settings.download
    plan = _plan(run)
    start = time.monotonic()
    made = run.pool.catalog.require(layout.UNIQUE_PAIRS, run.partition)
    with tables.local(run.store, made, layout.unique) as file:
        pairs = int(pq.read_metadata(file).num_rows)
        size = settings.samples_per_shard
        numbers = range(math.ceil(pairs / size))
        due = intents.left_over(run, plan)
        # What is due of a shard is published again with all of its files.
        kept = {number for number in numbers if number in due or _adopt(run, number, unchanged)}
        open_rows = {number: min(size, pairs - number * size) for number in numbers}
        open_rows |= {number: len(due.get(number, ())) for number in kept}
        to_fetch = sum(open_rows.values())
        left = to_fetch
        published: list[int] = []

        def publish(shard: Shard) -> None:
            nonlocal left
            shard.publish(run, again=shard.number in due)
            published.append(shard.number)
            left -= open_rows[shard.number]
            run.progress(pairs - left, pairs, "pairs")

        wanted = [number for number in numbers if open_rows[number]]
        journals = intents.journals(run, wanted)
        shards = read_shards(run.partition, file, wanted, settings, journals)
        begun = (
            intents.restore(run, shard, due[shard.number]) if shard.number in due else shard
            for shard in shards
        )
        gone = takedowns.read(run.store)
        begun = (left_out(shard, gone) for shard in begun)
        stopped = partial(intents.stopped, run, plan, published)
        download(begun, settings, publish, judges_few=not plan.was_stopped, stopped=stopped)
    _remove_strays(run)
    rate = round(to_fetch / (time.monotonic() - start), 1)
    figures = {"shards_kept": len(kept - set(due)), "pairs_per_s": rate, "retried": plan.retried}
    report = partition_report(run, numbers, figures)
    if report.rows_in and not report.rows_out:
        logger.warning(
            "%s: 0 of %s urls gave an image: %s", run.name, f"{report.rows_in:,}", report.dropped
        )
    recovered = report.rows_out - plan.successes if plan.retried else 0
    return replace(report, figures=report.figures | {"recovered": recovered})


def _adopt(run: StageRun, number: int, unchanged: Mapping[str, Output]) -> bool:
    """Keep a shard that an earlier run finished."""
    if not run.store.exists(layout.shard_stats(run.partition, number)):
        return False
    index = layout.tar_index(run.partition, number)
    # A shard of an earlier release has none, nor has one without images.
    has_index = index in unchanged or run.store.exists(index)
    for path in [*shard_files(run.partition, number), *[index] * has_index]:
        if path in unchanged:
            run.keep(unchanged[path])
        else:
            run.adopt(path)
    return True


def read_shards(
    partition: Key,
    file: Path,
    numbers: Iterable[int],
    settings: DownloadSettings,
    journals: Mapping[int, Path],
) -> Iterator[Shard]:
    """Shards of a partition's pairs, each read when its turn comes.

    Args:
        partition: which one.
        file: pairs in the columns of ``schemas.PAIRS``.
        numbers: of the wanted shards.
        settings: samples per shard.
        journals: by shard, see ``intents.journals``.

    Raises:
        ConfigurationError: the pairs lack a column that samples shall keep.
    """
    wanted = set(numbers)
    size = settings.samples_per_shard
    with pq.ParquetFile(file) as pairs:
        further = Further(pairs, kept_columns(settings))
        columns = further.stored(pair_columns(settings, pairs.schema_arrow.names))
        batches = pairs.iter_batches(size, columns=columns)
        for number, rows in enumerate(_cut(batches, size)):
            if number in wanted:
                journal = journals.get(number)
                told = [further.told(row) for row in rows]
                yield Shard(partition, number, told, further.schema, settings, journal)


def _cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[list[Row]]:
    """The rows of batches of any length in lists of ``size``, the last one shorter."""
    waiting: list[Row] = []
    for batch in batches:
        waiting += batch.to_pylist()
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


def _remove_strays(run: StageRun) -> None:
    """Remove shards of other settings that a killed run left."""
    published = {output.path for output in run.outputs}
    for folder in (layout.shard_folder(run.partition), layout.tar_index_folder(run.partition)):
        for path in run.store.list(folder):
            if path not in published:
                run.store.delete(path)


def _plan(run: StageRun) -> Plan:
    """What the run sets out to do; shards made from other inputs no longer count as done."""
    inputs = run.asset.made_from(run.pool, run.key)
    plan = intents.read(run)
    if plan is not None and plan.inputs == inputs:
        return plan
    for path in run.store.list(layout.shard_folder(run.partition)):
        if layout.shard_stats.holds(path):
            run.store.delete(path)
    plan = Plan(inputs)
    intents.begin(run, plan)
    return plan
