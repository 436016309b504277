"""``unique_pairs``: the pairs of a partition that no earlier row of the pool has.

Rows are equal when url and caption are; the first in partition order, then row order, wins.
What is compared are the 128-bit keys that ``pairs.raw_pairs`` wrote, never the rows of another
partition, and always those of *raw* partitions: the result does not depend on the order in
which partitions are run.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.dedup.chain import chain, inputs, keys_digest
from clip_assets.dedup.passes import owned_rows
from clip_assets.errors import NotReadyError
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import ABSENT, Catalog, Report, read_failure

UNIQUE_PAIRS = Stage("unique_pairs", "1", rows_from="raw_pairs")

_NAMED_PARTITIONS = 20


def unique_pairs_inputs(
    catalog: Catalog, partition: PartitionKey, earlier: Sequence[PartitionKey]
) -> dict[str, str]:
    """The partition's own rows, and one digest for the keys of all earlier ones."""
    return inputs(catalog, partition, chain(catalog, earlier))


def unique_pairs(
    catalog: Catalog, partition: PartitionKey, earlier: Sequence[PartitionKey]
) -> Outcome:
    """Drop the pairs of a partition that came before.

    Memory: ``keys.MEMORY_BYTES``, 25 bytes per row of the partition and one batch of rows,
    whatever the number of earlier partitions.

    Args:
        catalog: the pool's manifests.
        partition: which one.
        earlier: every partition of the ledger before it, in order. One whose ``raw_pairs``
            failed is left out and named in the report.

    Raises:
        MissingArtifactError: its own ``raw_pairs`` is not done.
        NotReadyError: the ``raw_pairs`` of an earlier partition was not tried yet.
    """
    catalog.require("raw_pairs", partition)
    made_from = unique_pairs_inputs(catalog, partition, earlier)
    missing = _missing(catalog, earlier)
    return materialize(
        catalog,
        UNIQUE_PAIRS,
        partition,
        made_from,
        lambda run: _deduplicate(run, catalog, earlier, missing),
    )


def _missing(catalog: Catalog, earlier: Sequence[PartitionKey]) -> list[PartitionKey]:
    """Earlier partitions without keys, all of which must have failed."""
    missing = [key for key in earlier if keys_digest(catalog, key) == ABSENT]
    untried = [key for key in missing if read_failure(catalog.store, "raw_pairs", key) is None]
    if untried:
        named = ", ".join(untried[:_NAMED_PARTITIONS])
        raise NotReadyError(
            "unique_pairs",
            f"{len(untried)} earlier partitions without raw_pairs: {named}",
            "all of them done or failed, since the first partition with a pair keeps it",
            f"Run: clip-assets run --select raw_pairs --partitions {untried[0]}..{untried[-1]}",
        )
    return missing


def _deduplicate(
    run: StageRun,
    catalog: Catalog,
    earlier: Sequence[PartitionKey],
    missing: Sequence[PartitionKey],
) -> Report:
    store = run.store
    known, owners = owned_rows(run, catalog, run.partition, earlier)
    with (
        store.local(layout.raw(run.partition), "raw_pairs") as raw,
        store.local(layout.pair_keys(run.partition), "raw_pairs") as keys,
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
