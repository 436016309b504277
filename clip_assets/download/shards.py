"""The asset ``image_shards``: the images of a partition's pairs in webdataset shards.

Here a partition is cut into shards, finished shards of a killed run are kept, and the whole is
reported. How urls become rows is told in ``pipeline``, what a shard's files hold in
``samples``.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.download.pipeline import download
from clip_assets.download.report import partition_report
from clip_assets.download.samples import Row, Shard, pair_columns, shard_files
from clip_assets.errors import MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.settings import Download
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.stages import Outcome, Stage, StageRun, materialize

IMAGE_SHARDS = Stage("image_shards", "1", rows_from="unique_pairs")

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
    "verify_hash",
    "blur_faces",
    "save_additional_columns",
    "samples_per_shard",
}
"""Settings that decide what a fetched image becomes; the others only decide how it is fetched."""


def image_shards(catalog: Catalog, partition: PartitionKey, settings: Download) -> Outcome:
    """Download the images of a partition's unique pairs.

    Memory: three shards of rows, and the bodies and images in flight, whatever the
    partition's size; see ``pipeline``.

    Raises:
        MissingArtifactError: the partition has no unique pairs yet.
        DownloadError: the network of this machine is at fault.
    """
    catalog.require("unique_pairs", partition)
    inputs = image_shards_inputs(catalog, partition, settings)
    return materialize(
        catalog, IMAGE_SHARDS, partition, inputs, lambda run: _work(run, settings, inputs)
    )


def image_shards_inputs(
    catalog: Catalog, partition: PartitionKey, settings: Download
) -> dict[str, str]:
    """What a partition's shards are made from: its pairs, and the settings that shape them."""
    return {
        "unique_pairs": catalog.digest("unique_pairs", partition),
        "settings": settings.model_dump_json(include=OUTPUT_SETTINGS),
    }


def _work(run: StageRun, settings: Download, inputs: dict[str, str]) -> Report:
    _forget_other_inputs(run, inputs)
    start = time.monotonic()
    with run.store.local(layout.unique(run.partition), "unique_pairs") as file:
        pairs = int(pq.read_metadata(file).num_rows)
        numbers = range(math.ceil(pairs / settings.samples_per_shard))
        kept = {number for number in numbers if _adopt(run, number)}
        done = sum(
            min(settings.samples_per_shard, pairs - number * settings.samples_per_shard)
            for number in kept
        )
        fetched = pairs - done

        def publish(shard: Shard) -> None:
            nonlocal done
            shard.publish(run)
            done += len(shard.pairs)
            run.progress(done, pairs, "pairs")

        missing = [number for number in numbers if number not in kept]
        download(read_shards(file, missing, settings), settings, publish)
    _remove_strays(run)
    rate = round(fetched / (time.monotonic() - start), 1)
    return partition_report(run, numbers, {"shards_kept": len(kept), "pairs_per_s": rate})


def _adopt(run: StageRun, number: int) -> bool:
    """Keep a shard that an earlier, killed run finished."""
    files = shard_files(run.partition, number)
    if not run.store.exists(layout.shard_stats(run.partition, number)):
        return False
    for path in files:
        run.adopt(path)
    return True


def read_shards(file: Path, numbers: Iterable[int], settings: Download) -> Iterator[Shard]:
    """Shards of a partition's pairs, each read when its turn comes.

    Args:
        file: pairs in the columns of ``layout.PAIRS``.
        numbers: of the wanted shards.
        settings: samples per shard.
    """
    wanted = set(numbers)
    size = settings.samples_per_shard
    with pq.ParquetFile(file) as pairs:
        batches = pairs.iter_batches(size, columns=pair_columns(settings))
        for number, rows in enumerate(_cut(batches, size)):
            if number in wanted:
                yield Shard(number, rows, pairs.schema_arrow, settings)


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
    published = {artifact.path for artifact in run.artifacts}
    for path in run.store.list(layout.shard_folder(run.partition)):
        if path not in published:
            run.store.delete(path)


def _forget_other_inputs(run: StageRun, inputs: dict[str, str]) -> None:
    """Let shards that were made from other inputs no longer count as done."""
    marker = f"{run.work_folder}/inputs.json"
    content = json.dumps(inputs, sort_keys=True).encode()
    try:
        if run.store.read_bytes(marker) == content:
            return
    except MissingArtifactError:
        pass
    for path in run.store.list(layout.shard_folder(run.partition)):
        if path.endswith("_stats.json"):
            run.store.delete(path)
    run.store.write_bytes(marker, content)
