"""What a fan-in asset finds upstream: partitions that are current, stale or missing.

Only looks at manifests; what a stage does about the stale and missing ones is its own matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Stage, current
from clip_assets.storage.manifests import Catalog


@dataclass(frozen=True, slots=True)
class Upstream:
    """Partitions of an upstream asset, each list in the pool's order.

    Args:
        done: there, whatever they were made from.
        current: those of them made from the inputs and by the code of today.
        stale: the others of them.
        missing: not there.
    """

    done: list[PartitionKey]
    current: list[PartitionKey]
    stale: list[PartitionKey]
    missing: list[PartitionKey]


def look(
    catalog: Catalog,
    stage: Stage,
    partitions: Sequence[PartitionKey],
    inputs: Callable[[PartitionKey], Mapping[str, str]],
) -> Upstream:
    """Sort the pool's partitions by what has become of them in one upstream stage.

    Args:
        catalog: the pool's manifests.
        stage: the upstream stage.
        partitions: every partition of the pool, in order.
        inputs: what the upstream stage would be made from today.
    """
    found = Upstream([], [], [], [])
    catalog.preload(stage.asset, partitions)
    for partition in partitions:
        if catalog.get(stage.asset, partition) is None:
            found.missing.append(partition)
            continue
        found.done.append(partition)
        same = current(catalog, stage, partition, inputs(partition))
        (found.current if same else found.stale).append(partition)
    return found
