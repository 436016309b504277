"""Which keys of some partitions occur in earlier ones.

Only key files are read here. Which partitions are looked at together is decided by
``passes``; what happens to the rows is the business of ``unique_pairs``.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import StageRun
from clip_assets.storage import sql

MEMORY_BYTES = 1 << 30
"""Bound on DuckDB's memory: a slice of the targets' keys in a hash table, and a window of all
keys that streams past it."""

SLICE_KEYS = 4_000_000
"""Keys of targets that are in the hash table at once; a key takes about 60 bytes there."""

_KEY_BYTES = 16
# Of a key in its file, about.

Owned = tuple[PartitionKey, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""A target, row numbers of its ``raw``, and for each row the number of the first partition
that has its key; both (n,), rows ascending."""


def first_owners(
    run: StageRun, earlier: Sequence[PartitionKey], targets: Sequence[PartitionKey]
) -> Iterator[Owned]:
    """Find every row of the targets whose key an earlier partition has.

    The keys are taken in slices of equal range. Key files are sorted, so that each slice reads
    its own part of every file: all keys are read about once, whatever the number of targets.

    Args:
        run: tells progress, and where the files are.
        earlier: partitions that come before the first target.
        targets: partitions to look at, in order; each comes before the next ones.

    Raises:
        DamagedError: a key file is gone, or of another size than its manifest says.

    Yields:
        One item for each target that has such rows, in order.
    """
    # The keys of the last target are nobody's earlier ones.
    before = [*earlier, *targets[:-1]]
    if not before or not targets:
        return
    store = run.store
    with sql.connection(MEMORY_BYTES) as database:
        if not store.is_local:
            database.register_filesystem(store.fs)
        database.execute("CREATE TEMP TABLE hits (target BIGINT, row BIGINT, owner BIGINT)")
        sizes = {key: store.checked_size(layout.pair_keys(key)) for key in (*before, *targets)}
        slices = _slices(sum(sizes[key] for key in targets))
        for number, where in enumerate(slices):
            run.progress(number, len(slices), "slices of the keys")
            database.execute(
                "INSERT INTO hits SELECT own.number, own.row, min(every.number)"
                f" FROM ({_keys(run, before, 'hi, lo', where)}) AS every"
                f" JOIN ({_keys(run, targets, 'hi, lo, row', where)}) AS own"
                " ON every.hi = own.hi AND every.lo = own.lo AND every.number < own.number"
                " GROUP BY own.number, own.row"
            )
        reader = database.sql("SELECT * FROM hits ORDER BY target, row").to_arrow_reader()
        yield from _by_target(
            np.stack([column.to_numpy() for column in batch.columns], axis=1) for batch in reader
        )


def _keys(run: StageRun, partitions: Sequence[PartitionKey], columns: str, where: str) -> str:
    """Key files as SQL, with the partition's number, which is its file's name."""
    files = [run.store.uri(layout.pair_keys(key)).removeprefix("file://") for key in partitions]
    return (
        f"SELECT {columns}, regexp_extract(filename, '([0-9]+)[.]parquet$', 1)::BIGINT AS number"
        f" FROM read_parquet({sql.files(files)}, filename = true) WHERE {where}"
    )


def _slices(size_bytes: int) -> list[str]:
    """Conditions that cut the keys of files of this size into slices of ``SLICE_KEYS``."""
    count = max(1, -(-size_bytes // (SLICE_KEYS * _KEY_BYTES)))
    ends = [(number << 64) // count for number in range(1, count)]
    lower = ["true", *(f"hi >= {end}" for end in ends)]
    upper = [*(f"hi < {end}" for end in ends), "true"]
    return [f"{low} AND {high}" for low, high in zip(lower, upper, strict=True)]


def _by_target(batches: Iterator[npt.NDArray[np.int64]]) -> Iterator[Owned]:
    """Split (target, row, owner) rows, which are sorted, where the target changes."""
    waiting: list[npt.NDArray[np.int64]] = []
    for batch in batches:
        cuts = np.flatnonzero(np.diff(batch[:, 0])) + 1
        for of_one in np.split(batch, cuts):
            if waiting and waiting[0][0, 0] != of_one[0, 0]:
                yield _joined(waiting)
                waiting = []
            waiting.append(of_one)
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[npt.NDArray[np.int64]]) -> Owned:
    whole = np.concatenate(parts)
    return layout.partition_key(int(whole[0, 0])), whole[:, 1], whole[:, 2]
