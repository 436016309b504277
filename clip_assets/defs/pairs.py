"""Assets of the pairs stages: source files to canonical, deduplicated rows."""

from collections.abc import Iterator

import dagster as dg

from clip_assets import planning, schemas
from clip_assets.dedup import unique_pairs as unique
from clip_assets.orchestration.bodies import Event, over_partitions
from clip_assets.orchestration.declare import partitioned
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import Pool
from clip_assets.pairs import raw_pairs as ingest


@partitioned(
    ingest.RAW_PAIRS,
    group="pairs",
    kinds={"parquet", "duckdb"},
    schema=schemas.PAIRS,
    needs=needs(cpus=2, memory_gib=8),
)
def raw_pairs(context: dg.AssetExecutionContext, pool: Pool) -> Iterator[Event]:
    """Every (url, caption) pair of the source files, in canonical columns, with a uid."""
    catalog, settings = pool.catalog(), pool.settings()
    yield from over_partitions(
        context, catalog, lambda key: ingest.raw_pairs(catalog, key, settings.sources)
    )


@partitioned(
    unique.UNIQUE_PAIRS,
    group="pairs",
    kinds={"parquet", "duckdb"},
    schema=schemas.PAIRS,
    needs=needs(cpus=2, memory_gib=8),
    deps=[raw_pairs],
)
def unique_pairs(context: dg.AssetExecutionContext, pool: Pool) -> Iterator[Event]:
    """The pairs that no earlier row of the pool has: the first of equal (url, caption) stays.

    Besides its own partition it reads the deduplication keys of all earlier ones.
    """
    catalog = pool.catalog()
    every = planning.partitions_of(catalog)
    yield from over_partitions(
        context,
        catalog,
        lambda key: unique.unique_pairs(catalog, key, every[: every.index(key)]),
    )
