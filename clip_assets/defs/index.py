"""Assets of the index stages: embeddings to a searchable version."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.defs.images import embeddings
from clip_assets.index import faiss_index as merge
from clip_assets.index import id_mapping as mapping
from clip_assets.index import index_recipe as recipe
from clip_assets.index import index_segments as segments
from clip_assets.orchestration.automation import REENCODE, follow, refresh
from clip_assets.orchestration.bodies import Event, over_partitions, over_pool
from clip_assets.orchestration.declare import fan_in, partitioned
from clip_assets.orchestration.executors import INDEX_POOL, needs
from clip_assets.orchestration.resources import Pool

GROUP = "index"


@fan_in(
    recipe.INDEX_RECIPE,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=8),
    deps=[embeddings],
    condition=refresh(),
    pool=INDEX_POOL,
)
def index_recipe(pool: Pool) -> Iterator[Event]:
    """The trained, empty index of each side, and why this kind was chosen.

    It stays the same while it fits the pool's size, so that new partitions do not make old
    segments stale.
    """
    catalog, settings = pool.catalog(), pool.settings()
    yield from over_pool(catalog, lambda keys: recipe.index_recipe(catalog, keys, settings.index))


@partitioned(
    segments.INDEX_SEGMENTS,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=8),
    deps=[embeddings, index_recipe],
    condition=REENCODE,
)
def index_segments(context: dg.AssetExecutionContext, pool: Pool) -> Iterator[Event]:
    """The vectors of one partition, encoded as the recipe says."""
    catalog = pool.catalog()
    yield from over_partitions(context, catalog, lambda key: segments.index_segments(catalog, key))


@fan_in(
    merge.FAISS_INDEX,
    group=GROUP,
    kinds={"faiss"},
    needs=needs(cpus=2, memory_gib=16),
    deps=[index_segments, index_recipe],
    # A new recipe matters through the segments that it makes stale.
    condition=refresh(ignore=dg.AssetSelection.assets("index_recipe")),
    pool=INDEX_POOL,
)
def faiss_index(pool: Pool) -> Iterator[Event]:
    """A new index version of all finished segments, with the partitions used and missing.

    Partitions that did not change keep their vector ids.
    """
    catalog, settings = pool.catalog(), pool.settings()
    yield from over_pool(catalog, lambda keys: merge.faiss_index(catalog, keys, settings.index))


@fan_in(
    mapping.ID_MAPPING,
    group=GROUP,
    kinds={"parquet"},
    needs=needs(memory_gib=8),
    deps=[faiss_index, embeddings],
    condition=follow("faiss_index"),
    pool=INDEX_POOL,
)
def id_mapping(pool: Pool) -> Iterator[Event]:
    """Vector id to pair; when it is complete the new index version is the one served."""
    catalog = pool.catalog()
    yield from over_pool(catalog, lambda keys: mapping.id_mapping(catalog, keys))
