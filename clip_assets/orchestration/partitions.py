"""The partition axis, and what a command without a partition means.

A partition is a batch of source rows; the ledger in the store is the truth, Dagster's
dynamic partitions follow it. ``sync`` is idempotent, so a lost instance or a kill between
planning and registering heals by itself.
"""

import os
import sys
from collections.abc import Sequence

import dagster as dg

from clip_assets.layout import PartitionKey
from clip_assets.partitions import ledger
from clip_assets.storage.store import Store

POOL = dg.DynamicPartitionsDefinition(name="pool_partition")

_FILL = "CLIP_ASSETS_FILL"


def fills_missing() -> bool:
    """Whether this process was started by ``dagster asset materialize`` without a partition.

    Dagster refuses to materialize a partitioned asset without one. The useful meaning is
    "everything that is missing", so in such a process the assets are declared without
    partitions and record each partition that they fill. The variable tells step processes,
    whose own command line is another one.
    """
    without = not any(argument.startswith("--partition") for argument in sys.argv)
    if sys.argv[1:3] == ["asset", "materialize"] and without:
        os.environ[_FILL] = "missing"
    return os.environ.get(_FILL) == "missing"


PARTITIONS = None if fills_missing() else POOL
"""What partitioned assets declare in this process."""


def registered(instance: dg.DagsterInstance) -> list[PartitionKey]:
    """Partitions that Dagster knows, in order of arrival."""
    return [PartitionKey(key) for key in sorted(instance.get_dynamic_partitions(str(POOL.name)))]


def unregistered(instance: dg.DagsterInstance, store: Store) -> list[PartitionKey]:
    """Partitions of the ledger that Dagster does not know yet, in order of arrival."""
    known = set(registered(instance))
    return [plan.partition for plan in ledger.plans(store) if plan.partition not in known]


def sync(instance: dg.DagsterInstance, store: Store) -> Sequence[PartitionKey]:
    """Make Dagster know every partition of the ledger; returns the new ones."""
    new = unregistered(instance, store)
    if new:
        instance.add_dynamic_partitions(str(POOL.name), new)
    return new
