"""Comparing many partitions with all earlier ones in one pass over the keys.

A partition that is compared alone reads the keys of all partitions before it; for a whole pool
that is quadratic. So a partition with ``n`` earlier ones takes up to ``n - 1`` of those after it
along, which at most doubles what is read, and leaves what it found in the store for them. The
runs of a whole pool then read all keys about four times, whatever the number of partitions.

What was found is used only while the keys of every earlier partition are the same, so nothing
depends on the order of runs. For how keys are compared see ``keys``.
"""

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.dedup.chain import chain, has_keys, inputs, keys_digest, link
from clip_assets.dedup.keys import first_owners
from clip_assets.errors import BusyError, MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun
from clip_assets.storage import locks, tables
from clip_assets.storage.manifests import ABSENT
from clip_assets.storage.store import Store

_LOCK = f"{layout.UNIQUE_PAIRS}/pass"
_STATE = b"clip_assets.keys"

Rows = npt.NDArray[np.int64]


def owned_rows(run: StageRun) -> tuple[Rows, Rows]:
    """Rows of a partition whose key an earlier one has, and the number of the first such.

    Earlier partitions without keys are left out.

    Args:
        run: of the partition.

    Returns:
        Row numbers of ``raw``, ascending, and partition numbers, each (n,).
    """
    left = _read(run.store, run.partition, _state(run.pool, run.partition))
    if left is not None:
        return left
    companions = _companions(run)
    try:
        with locks.exclusive(run.store, _LOCK) if companions else nullcontext():
            return _compare(run, companions)
    except BusyError:
        # Another process takes companions along; they may be the same.
        return _compare(run, {})


def _state(pool: Pool, partition: PartitionKey) -> str:
    """Digest of the keys that a comparison sees: the partition's own and all earlier ones."""
    return link(chain(pool, pool.earlier(partition)), keys_digest(pool, partition))


def _companions(run: StageRun) -> dict[PartitionKey, str]:
    """Later partitions that can be compared now and have not been, each with its chain."""
    pool, catalog = run.pool, run.pool.catalog
    companions: dict[PartitionKey, str] = {}
    before = _state(pool, run.partition)
    most = len(pool.earlier(run.partition))
    after = pool.later(run.partition)
    for asset in (layout.RAW_PAIRS, run.asset.name):
        catalog.preload(asset, after[:most])
    for key in after:
        if len(companions) + 1 >= most:
            break
        digest = keys_digest(pool, key)
        if digest == ABSENT and catalog.failure(layout.RAW_PAIRS, key) is None:
            break
        manifest = catalog.get(run.asset.name, key)
        today = (inputs(pool, key, before), run.asset.version)
        if manifest and (manifest.inputs, manifest.code_version) == today:
            # It needs no comparing, but those after it have to be compared with it too.
            break
        before = link(before, digest)
        if digest != ABSENT:
            companions[key] = before
    return companions


def _compare(run: StageRun, companions: Mapping[PartitionKey, str]) -> tuple[Rows, Rows]:
    """Compare a partition, and leave in the store what is found for its companions."""
    pool, partition = run.pool, run.partition
    used = [key for key in pool.earlier(partition) if has_keys(pool, key)]
    targets = [key for key in (partition, *companions) if has_keys(pool, key)]
    own = nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    left = dict(companions)
    for target, rows, owners in first_owners(run, used, targets):
        if target == partition:
            own = (rows, owners)
        else:
            _write(run.store, target, left.pop(target), (rows, owners))
    for target, state in left.items():
        _write(run.store, target, state, nothing)
    return own


def _write(store: Store, target: PartitionKey, state: str, owned: tuple[Rows, Rows]) -> None:
    schema = schemas.OWNERS.with_metadata({_STATE: state.encode()})
    table = pa.table([pa.array(owned[0]), pa.array(owned[1])], schema=schema)
    with store.publish(layout.owners(target)) as part:
        pq.write_table(table, part, compression=tables.COMPRESSION)


def _read(store: Store, partition: PartitionKey, state: str) -> tuple[Rows, Rows] | None:
    """What was left for a partition, unless other keys were compared then."""
    try:
        with store.local(layout.owners(partition)) as file:
            table = pq.read_table(file)
    except MissingArtifactError:
        return None
    if (table.schema.metadata or {}).get(_STATE) != state.encode():
        return None
    return table.column("row").to_numpy(), table.column("owner").to_numpy()
