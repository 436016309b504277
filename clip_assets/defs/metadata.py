"""Assets of metadata: what became of every pair, and statistics of the whole pool."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.metadata.aesthetic import AESTHETIC
from clip_assets.metadata.pool_metadata import POOL_METADATA
from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import PoolResource
from clip_assets.stats.metadata_stats import METADATA_STATS

GROUP = "metadata"


@declared(
    AESTHETIC,
    group=GROUP,
    kinds={"parquet", "numpy"},
    needs=needs(memory_gib=2),
)
def aesthetic(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """How pleasing each embedded image is to a head, if the settings name one."""
    yield from made(context, pool.open(), AESTHETIC)


@declared(
    POOL_METADATA,
    group=GROUP,
    kinds={"parquet", "duckdb"},
    needs=needs(memory_gib=8),
)
def pool_metadata(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """One row for every unique pair in DataComp's columns: sizes, hash, scores, outcome."""
    yield from made(context, pool.open(), POOL_METADATA)


@declared(
    METADATA_STATS,
    group=GROUP,
    kinds={"json", "html", "png"},
    needs=needs(memory_gib=4),
)
def metadata_stats(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """Counts and distributions of the pool: sizes, captions, domains, scores, outcomes."""
    yield from made(context, pool.open(), METADATA_STATS)
