"""``unique_pairs``: the pairs of a partition that no earlier row of the pool has.

Rows are equal when url and caption are; the first in partition order, then row order, wins.
What is compared are the 128-bit keys that ``pairs.raw_pairs`` wrote, never the rows of another
partition, and always those of *raw* partitions: the result does not depend on the order in
which partitions are run.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.dedup.chain import chain, inputs, keys_digest
from clip_assets.dedup.passes import owned_rows
from clip_assets.errors import NotReadyError
from clip_assets.layout import Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import ABSENT, Report

_NAMED_PARTITIONS = 20


def unique_pairs_inputs(pool: Pool, partition: Key) -> Inputs:
    """The partition's own rows, and one digest for the keys of all earlier ones."""
    return inputs(pool, partition, chain(pool, pool.earlier(partition)))


def unique_pairs(pool: Pool, partition: Key) -> Outcome:
    """Drop the pairs of a partition that came before.

    An earlier partition whose ``raw_pairs`` failed is left out and named in the report.

    Memory: ``keys.MEMORY_BYTES``, 25 bytes per row of the partition and one batch of rows,
    whatever the number of earlier partitions.

    Raises:
        MissingArtifactError: its own ``raw_pairs`` is not done.
        NotReadyError: the ``raw_pairs`` of an earlier partition was not tried yet.
    """
    pool.catalog.require(layout.RAW_PAIRS, partition)
    missing = _missing(pool, pool.earlier(partition))
    return materialize(pool, UNIQUE_PAIRS, partition, partial(_deduplicate, missing=missing))


UNIQUE_PAIRS = Asset(
    layout.UNIQUE_PAIRS,
    "1",
    make=unique_pairs,
    inputs=unique_pairs_inputs,
    deps=(layout.RAW_PAIRS,),
    settings=("earlier",),
    rows_from=layout.RAW_PAIRS,
)


def _missing(pool: Pool, earlier: Sequence[PartitionKey]) -> list[PartitionKey]:
    """Earlier partitions without keys, all of which must have failed."""
    pool.catalog.preload(layout.RAW_PAIRS, earlier)
    missing = [key for key in earlier if keys_digest(pool, key) == ABSENT]
    untried = [key for key in missing if pool.catalog.failure(layout.RAW_PAIRS, key) is None]
    if untried:
        named = ", ".join(untried[:_NAMED_PARTITIONS])
        raise NotReadyError(
            layout.UNIQUE_PAIRS,
            f"{len(untried)} earlier partitions without {layout.RAW_PAIRS}: {named}",
            "all of them done or failed, since the first partition with a pair keeps it",
            f"Run: clip-assets run --select {layout.RAW_PAIRS} "
            f"--partitions {untried[0]}..{untried[-1]}",
        )
    return missing


def _deduplicate(run: StageRun, missing: Sequence[PartitionKey]) -> Report:
    store, earlier = run.store, run.pool.earlier(run.partition)
    made = run.pool.catalog.require(layout.RAW_PAIRS, run.partition)
    known, owners = owned_rows(run)
    with (
        tables.local(store, made, layout.raw) as raw,
        tables.local(store, made, layout.pair_keys) as keys,
        pq.ParquetFile(raw) as source,
    ):
        rows = int(source.metadata.num_rows)
        firsts = pq.read_table(keys, columns=["row"]).column("row").to_numpy()
        keep = np.zeros(rows, np.bool_)
        keep[firsts] = True
        keep[known] = False
        with run.publish(layout.unique(run.partition)) as part:
            tables.write_batches(part, source.schema_arrow, _kept(source, keep))
    return Report(
        rows_in=rows,
        rows_out=int(keep.sum()),
        dropped=_dropped(rows - len(firsts), owners),
        figures={
            "earlier_partitions": len(earlier) - len(missing),
            "earlier_missing": list(missing),
            "distinct_keys": len(firsts),
        },
    )


def _kept(source: pq.ParquetFile, keep: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in source.iter_batches(tables.ROW_GROUP_ROWS):
        stop = start + batch.num_rows
        yield batch.filter(pa.array(keep[start:stop]))
        start = stop


def _dropped(repeated: int, owners: npt.NDArray[np.int64]) -> dict[str, int]:
    """Dropped rows by reason, earlier partitions one by one where they are few."""
    dropped = {"duplicate in this partition": repeated} if repeated else {}
    numbers, counts = np.unique(owners, return_counts=True)
    if len(numbers) > _NAMED_PARTITIONS:
        return dropped | {"duplicate of earlier partitions": int(counts.sum())}
    return dropped | {
        f"duplicate of {layout.partition_key(int(number))}": int(count)
        for number, count in zip(numbers, counts, strict=True)
    }
