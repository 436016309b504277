"""Assets of pairs: source files to canonical, deduplicated rows."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.dedup.unique_pairs import UNIQUE_PAIRS
from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pairs.raw_pairs import RAW_PAIRS

GROUP = "pairs"


@declared(
    RAW_PAIRS,
    group=GROUP,
    kinds={"parquet", "duckdb"},
    needs=needs(cpus=2, memory_gib=8),
)
def raw_pairs(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """Every (url, caption) pair of the source files, in canonical columns, with a uid."""
    yield from made(context, pool.open(), RAW_PAIRS)


@declared(
    UNIQUE_PAIRS,
    group=GROUP,
    kinds={"parquet", "duckdb"},
    needs=needs(cpus=2, memory_gib=8),
)
def unique_pairs(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """The pairs that no earlier row of the pool has: the first of equal (url, caption) stays.

    Besides its own partition it reads the deduplication keys of all earlier ones.
    """
    yield from made(context, pool.open(), UNIQUE_PAIRS)
