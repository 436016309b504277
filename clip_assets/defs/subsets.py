"""Assets of pool metadata, DataComp subsets and statistics."""

from collections.abc import Iterator

import dagster as dg

from clip_assets import schemas
from clip_assets.defs.images import embeddings, image_shards
from clip_assets.defs.pairs import unique_pairs
from clip_assets.metadata import pool_metadata as metadata
from clip_assets.orchestration.automation import refresh
from clip_assets.orchestration.bodies import Event, over_partitions, over_pool
from clip_assets.orchestration.declare import fan_in, partitioned
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import Pool
from clip_assets.stats import metadata_stats as pool_stats
from clip_assets.subsets import baselines

GROUP = "subsets"


@partitioned(
    metadata.POOL_METADATA,
    group=GROUP,
    kinds={"parquet"},
    schema=schemas.POOL_ROWS,
    needs=needs(memory_gib=8),
    deps=[unique_pairs, image_shards, embeddings],
)
def pool_metadata(context: dg.AssetExecutionContext, pool: Pool) -> Iterator[Event]:
    """One row for every unique pair in DataComp's columns: sizes, hash, scores, outcome."""
    catalog = pool.catalog()
    yield from over_partitions(context, catalog, lambda key: metadata.pool_metadata(catalog, key))


def subset_asset(name: str, description: str) -> dg.AssetsDefinition:
    """The asset of one subset: sorted uids for DataComp's resharder and for training."""

    @fan_in(
        baselines.stage(name),
        group=GROUP,
        kinds={"numpy"},
        needs=needs(memory_gib=8),
        deps=[pool_metadata],
        condition=refresh(),
        description=description,
    )
    def subset(pool: Pool) -> Iterator[Event]:
        catalog = pool.catalog()
        yield from over_pool(catalog, lambda keys: baselines.subset(catalog, name, keys))

    return subset


SUBSETS = [
    subset_asset("no_filter", "Uids of every pair that has an image, sorted."),
    subset_asset(
        "basic_filter",
        "Uids that pass DataComp's basic filter (caption length, image size and aspect ratio), "
        "without its language rule.",
    ),
]


@fan_in(
    pool_stats.METADATA_STATS,
    group=GROUP,
    kinds={"json", "html", "png"},
    needs=needs(memory_gib=4),
    deps=[pool_metadata],
    condition=refresh(),
)
def metadata_stats(pool: Pool) -> Iterator[Event]:
    """Counts and distributions of the pool: sizes, captions, domains, scores, outcomes."""
    catalog = pool.catalog()
    yield from over_pool(
        catalog, lambda keys: pool_stats.metadata_stats(catalog, metadata.look(catalog, keys))
    )
