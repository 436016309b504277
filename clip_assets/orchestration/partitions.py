"""The axes of the pool as Dagster's dynamic partitions.

The store is the truth, Dagster's keys follow it: partitions come from the ledger, subsets from
the settings. ``sync`` is idempotent, so a lost instance or a kill between planning and
registering heals by itself.
"""

from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg

from clip_assets.errors import MissingArtifactError
from clip_assets.layout import Key
from clip_assets.pool.pool import Axis, Pool

POOL_PARTITIONS = dg.DynamicPartitionsDefinition(name="pool_partition")
SUBSET_PARTITIONS = dg.DynamicPartitionsDefinition(name="subset")

AXES: Mapping[Axis, dg.DynamicPartitionsDefinition] = MappingProxyType(
    {"partition": POOL_PARTITIONS, "subset": SUBSET_PARTITIONS}
)
"""The axes that have keys of their own."""


def registered(instance: dg.DagsterInstance, axis: Axis = "partition") -> list[Key]:
    """Keys that Dagster knows, as they came to it: the order of which its ranges are stretches."""
    return [Key(key) for key in instance.get_dynamic_partitions(str(AXES[axis].name))]


def unregistered(instance: dg.DagsterInstance, pool: Pool, axis: Axis = "partition") -> list[Key]:
    """Keys of the pool that Dagster does not know yet, in their order."""
    known = set(registered(instance, axis))
    return [key for key in pool.keys(axis) if key not in known]


def unknown(instance: dg.DagsterInstance, pool: Pool, axis: Axis) -> list[Key]:
    """Keys that Dagster has and the pool has not: typed in the UI, or of another pool."""
    known = set(pool.keys(axis))
    return [key for key in registered(instance, axis) if key not in known]


def require(pool: Pool, axis: Axis, key: Key) -> None:
    """Refuse a key that the pool does not have.

    Raises:
        MissingArtifactError: it is Dagster's alone.
    """
    if key in (pool.plans if axis == "partition" else pool.keys(axis)):
        return
    if axis == "partition":
        every = pool.partitions
        expected = f"a planned partition ({f'{every[0]}..{every[-1]}' if every else 'none yet'})"
        advice = "Partitions are planned by clip-assets add. Delete the key in Dagster's UI."
    else:
        expected = f"a subset that the settings name ({', '.join(pool.keys(axis))})"
        advice = "Add it to subsets in pool.yaml, or delete the key in Dagster's UI."
    raise MissingArtifactError(f"{axis} {key!r}", "no such key in the pool", expected, advice)


def sync(instance: dg.DagsterInstance, pool: Pool) -> list[Key]:
    """Make Dagster know every key of the pool; returns the new partitions."""
    new: dict[Axis, list[Key]] = {axis: unregistered(instance, pool, axis) for axis in AXES}
    for axis, keys in new.items():
        if keys:
            instance.add_dynamic_partitions(str(AXES[axis].name), keys)
    return new["partition"]
