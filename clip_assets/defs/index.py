"""Assets of the index: embeddings to a searchable version."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.index.faiss_index import FAISS_INDEX
from clip_assets.index.id_mapping import ID_MAPPING
from clip_assets.index.index_recipe import INDEX_RECIPE
from clip_assets.index.index_segments import INDEX_SEGMENTS
from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.checks import recall_check
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import INDEX_POOL, needs
from clip_assets.orchestration.resources import PoolResource

GROUP = "index"


@declared(
    INDEX_RECIPE,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=8),
    concurrency_pool=INDEX_POOL,
)
def index_recipe(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """The trained, empty index of each side, and why this kind was chosen.

    It stays the same while it fits the pool's size, so that new partitions do not make old
    segments stale.
    """
    yield from made(context, pool.open(), INDEX_RECIPE)


@declared(
    INDEX_SEGMENTS,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=8),
)
def index_segments(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """The vectors of one partition, encoded as the recipe says."""
    yield from made(context, pool.open(), INDEX_SEGMENTS)


@declared(
    FAISS_INDEX,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=16),
    concurrency_pool=INDEX_POOL,
    checks=[recall_check(FAISS_INDEX)],
)
def faiss_index(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """A new index version of all finished segments, with the partitions used and missing.

    Partitions that did not change keep their vector ids.
    """
    yield from made(context, pool.open(), FAISS_INDEX)


@declared(
    ID_MAPPING,
    group=GROUP,
    kinds={"parquet"},
    needs=needs(memory_gib=8),
    concurrency_pool=INDEX_POOL,
)
def id_mapping(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """Vector id to pair; when it is complete the new index version is the one served."""
    yield from made(context, pool.open(), ID_MAPPING)
