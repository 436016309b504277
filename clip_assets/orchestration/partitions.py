"""The axes of the pool as Dagster's dynamic partitions.

The store is the truth, Dagster's keys follow it: partitions come from the ledger, subsets from
the settings. ``sync`` is idempotent, so a lost instance or a kill between planning and
registering heals by itself.
"""

from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg

from clip_assets.layout import Key
from clip_assets.pool.pool import Axis, Pool

POOL_PARTITIONS = dg.DynamicPartitionsDefinition(name="pool_partition")
SUBSET_PARTITIONS = dg.DynamicPartitionsDefinition(name="subset")

AXES: Mapping[Axis, dg.DynamicPartitionsDefinition] = MappingProxyType(
    {"partition": POOL_PARTITIONS, "subset": SUBSET_PARTITIONS}
)
"""The axes that have keys of their own."""


def registered(instance: dg.DagsterInstance, axis: Axis = "partition") -> list[Key]:
    """Keys that Dagster knows: partitions in order of arrival, others as they came to Dagster."""
    keys = [Key(key) for key in instance.get_dynamic_partitions(str(AXES[axis].name))]
    return sorted(keys) if axis == "partition" else keys


def unregistered(instance: dg.DagsterInstance, pool: Pool, axis: Axis = "partition") -> list[Key]:
    """Keys of the pool that Dagster does not know yet, in their order."""
    known = set(registered(instance, axis))
    return [key for key in pool.keys(axis) if key not in known]


def sync(instance: dg.DagsterInstance, pool: Pool) -> list[Key]:
    """Make Dagster know every key of the pool; returns the new partitions."""
    new: dict[Axis, list[Key]] = {axis: unregistered(instance, pool, axis) for axis in AXES}
    for axis, keys in new.items():
        if keys:
            instance.add_dynamic_partitions(str(AXES[axis].name), keys)
    return new["partition"]
