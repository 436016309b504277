"""Rows of a partition whose vectors somebody else made: there is nothing to fetch.

They pass through as rows of shards without tars, with a status of their own, so that everything
after them knows each pair and that it has no image here. The vectors are taken over in
``inference.adopted_vectors``; what belongs to a partition is said by its plan.
"""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.download.sample_keys import sample_key
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables
from clip_assets.storage.manifests import Report

ADOPTED = "adopted"
"""Status of a pair whose vectors are there, and whose image is not."""


def pass_on(run: StageRun) -> Report:
    """Write a row for each unique pair of a partition whose vectors are adopted.

    Memory: the pairs of one shard.
    """
    size, rows = run.pool.settings.download.samples_per_shard, 0
    made = run.pool.catalog.require(layout.UNIQUE_PAIRS, run.partition)
    with tables.local(run.store, made, layout.unique) as file, pq.ParquetFile(file) as pairs:
        batches = pairs.iter_batches(size, columns=["uid", "url", "caption", "sha256"])
        for number, batch in enumerate(tables.regrouped(batches, size)):
            shard = [
                _row(pair, sample_key(run.partition, number, place, size))
                for place, pair in enumerate(batch.to_pylist())
            ]
            with run.publish(layout.shard_rows(run.partition, number)) as part:
                tables.write(part, pa.Table.from_pylist(shard, schemas.SHARD_ROWS))
            rows += len(shard)
    return Report(rows, rows, figures={"adopted": rows, "images": 0})


def _row(pair: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        "uid": pair["uid"],
        "caption": pair["caption"],
        "url": pair["url"],
        "key": key,
        "status": ADOPTED,
        "attempts": 0,
        "source_sha256": pair["sha256"],
        "is_placeholder": False,
    }
