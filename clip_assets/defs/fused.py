"""Image shards and embeddings as one step, for pools whose settings are ``fused``.

The stages are those of ``defs.images`` and ``defs.embeddings``; here they run beside each other.
"""

from collections.abc import Iterator

import dagster as dg

from clip_assets.defs.embeddings import embeddings
from clip_assets.defs.images import Fetching, image_shards
from clip_assets.download.image_shards import IMAGE_SHARDS
from clip_assets.inference.embedding_ahead import embedding_ahead
from clip_assets.inference.embeddings import EMBEDDINGS
from clip_assets.inference.embeddings import embeddings as embed
from clip_assets.orchestration.bodies import Event, begin, made, told, tried
from clip_assets.orchestration.declare import declared_together
from clip_assets.orchestration.executors import GPU_POOL, devices_per_step, needs
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pool.pool import Pool


def fused() -> dg.AssetsDefinition:
    """Both assets as one step, which is configured as that of image shards alone."""

    @declared_together(
        IMAGE_SHARDS.name,
        image_shards,
        embeddings,
        # The device of the one, and the memory of both.
        needs=needs(cpus=4, gpus=devices_per_step(), memory_gib=12),
        concurrency_pool=GPU_POOL,
    )
    def shards_and_vectors(
        context: dg.AssetExecutionContext, config: Fetching, pool: PoolResource
    ) -> Iterator[Event]:
        opened = pool.open()
        if embeddings.key not in context.selected_asset_keys:
            yield from made(context, opened, IMAGE_SHARDS, config.make)
            return
        with opened.leased_devices():
            if image_shards.key in context.selected_asset_keys:
                yield from _fused(context, config, opened)
            else:
                yield from made(context, opened, EMBEDDINGS)

    return shards_and_vectors


def _fused(context: dg.AssetExecutionContext, config: Fetching, pool: Pool) -> Iterator[Event]:
    """Fetch partition by partition, with the model at work on what came; then join its vectors."""
    begin(context)
    with embedding_ahead(pool) as paces:
        shards = tried(context, pool, IMAGE_SHARDS, config.make)
    vectors = tried(
        context,
        pool,
        EMBEDDINGS,
        lambda opened, key: embed(opened, key, paces.get(key)),
        without=shards.failed,
    )
    yield from told(context, pool, shards, vectors)
