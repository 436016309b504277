"""Assets of subsets: rows of the pool's metadata to files of uids, and those to shards."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import PoolResource
from clip_assets.reshard.subset_shards import SUBSET_SHARDS
from clip_assets.subsets.subset_files import SUBSETS


@declared(
    SUBSETS,
    group="curation",
    kinds={"numpy"},
    needs=needs(memory_gib=8),
)
def subsets(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """Sorted uids of each subset, for DataComp's resharder and for training.

    ``no_filter`` has every pair with an image; ``basic_filter`` those that pass DataComp's rules
    on caption length, image size and aspect ratio, without its language rule.
    """
    yield from made(context, pool.open(), SUBSETS)


@declared(
    SUBSET_SHARDS,
    group="curation",
    kinds={"webdataset"},
    needs=needs(memory_gib=8),
)
def subset_shards(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """The samples of each subset that the settings name, in shards to train on.

    In DataComp's layout, shuffled over the whole subset if a seed is given. Of other subsets it has
    no files.
    """
    yield from made(context, pool.open(), SUBSET_SHARDS)
