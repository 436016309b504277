"""Comparing many partitions with all earlier ones in one pass over the keys.

A partition that is compared alone reads the keys of all partitions before it; for a whole pool
that is quadratic. So a partition with ``n`` earlier ones takes up to ``n - 1`` of those after it
along, which at most doubles what is read, and leaves what it found in the store for them. The
runs of a whole pool then read all keys about four times, whatever the number of partitions.

What was found is used only while the keys of every earlier partition are the same, so nothing
depends on the order of runs. What is found by comparing is the business of ``keys``.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.dedup.chain import chain, inputs, keys_digest, link
from clip_assets.dedup.keys import first_owners
from clip_assets.errors import BusyError, MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import StageRun
from clip_assets.storage import locks, tables
from clip_assets.storage.manifests import ABSENT, Catalog, read_failure
from clip_assets.storage.store import Store

_LOCK = "unique_pairs/pass"
_STATE = b"clip_assets.keys"

Rows = npt.NDArray[np.int64]


def owned_rows(
    run: StageRun, catalog: Catalog, partition: PartitionKey, earlier: Sequence[PartitionKey]
) -> tuple[Rows, Rows]:
    """Rows of a partition whose key an earlier one has, and the number of the first such.

    Args:
        run: of the partition.
        catalog: the pool's manifests.
        partition: which one.
        earlier: every partition before it, in order; those without keys are left out.

    Returns:
        Row numbers of ``raw``, ascending, and partition numbers, each (n,).
    """
    state = link(chain(catalog, earlier), keys_digest(catalog, partition))
    found = _read(run.store, partition, state)
    if found is not None:
        return found
    companions = _companions(run, catalog, partition, earlier)
    try:
        with locks.exclusive(run.store, _LOCK) if companions else nullcontext():
            return _compare(run, catalog, partition, earlier, companions)
    except BusyError:
        # Another process takes companions along; they may be the same.
        return _compare(run, catalog, partition, earlier, {})


def _companions(
    run: StageRun, catalog: Catalog, partition: PartitionKey, earlier: Sequence[PartitionKey]
) -> dict[PartitionKey, str]:
    """Later partitions that can be compared now and have not been, each with its chain."""
    found: dict[PartitionKey, str] = {}
    before = link(chain(catalog, earlier), keys_digest(catalog, partition))
    after = _after(run.store, partition)
    for asset in ("raw_pairs", run.stage.asset):
        catalog.preload(asset, after[: len(earlier)])
    for key in after:
        if len(found) + 1 >= len(earlier):
            break
        digest = keys_digest(catalog, key)
        if digest == ABSENT and read_failure(run.store, "raw_pairs", key) is None:
            break
        manifest = catalog.get(run.stage.asset, key)
        now = (inputs(catalog, key, before), run.stage.version)
        if manifest and (manifest.inputs, manifest.code_version) == now:
            # It needs no comparing, but those after it have to be compared with it too.
            break
        before = link(before, digest)
        if digest != ABSENT:
            found[key] = before
    return found


def _after(store: Store, partition: PartitionKey) -> list[PartitionKey]:
    keys = [PartitionKey(Path(path).stem) for path in store.list(layout.PLANS)]
    return [key for key in keys if key > partition]


def _compare(
    run: StageRun,
    catalog: Catalog,
    partition: PartitionKey,
    earlier: Sequence[PartitionKey],
    companions: Mapping[PartitionKey, str],
) -> tuple[Rows, Rows]:
    """Compare a partition, and leave in the store what is found for its companions."""
    used = [key for key in earlier if keys_digest(catalog, key) != ABSENT]
    own = nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    left = dict(companions)
    for target, rows, owners in first_owners(run, used, [partition, *companions]):
        if target == partition:
            own = (rows, owners)
        else:
            _write(run.store, target, left.pop(target), (rows, owners))
    for target, state in left.items():
        _write(run.store, target, state, nothing)
    return own


def _write(store: Store, target: PartitionKey, state: str, found: tuple[Rows, Rows]) -> None:
    schema = schemas.OWNERS.with_metadata({_STATE: state.encode()})
    table = pa.table([pa.array(found[0]), pa.array(found[1])], schema=schema)
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
