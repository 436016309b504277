"""Assets of the image stages: pairs to image shards to embeddings."""

import functools
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from clip_assets import devices, schemas
from clip_assets.defs.pairs import unique_pairs
from clip_assets.download import image_shards as shards
from clip_assets.download import retry
from clip_assets.encoders.encoder import Encoder
from clip_assets.inference import embeddings as embed
from clip_assets.layout import PartitionKey
from clip_assets.orchestration.bodies import Event, over_partitions, vectors_check
from clip_assets.orchestration.declare import partitioned
from clip_assets.orchestration.executors import GPU_POOL, devices_per_step, needs
from clip_assets.orchestration.resources import Pool
from clip_assets.pool.stages import Outcome
from clip_assets.settings import Inference


class Fetching(dg.Config):
    """How one run treats what earlier ones fetched."""

    retry_failed: bool = Field(
        default=False,
        description="In finished partitions, fetch again what failed for a reason that may have "
        "passed, such as a timeout",
    )


@partitioned(
    shards.IMAGE_SHARDS,
    group="images",
    kinds={"webdataset", "http"},
    schema=schemas.SHARD_ROWS,
    needs=needs(cpus=2, memory_gib=4),
    deps=[unique_pairs],
)
def image_shards(
    context: dg.AssetExecutionContext, config: Fetching, pool: Pool
) -> Iterator[Event]:
    """Downloaded, resized images with captions, as webdataset tars; every failure is a row."""
    catalog, settings = pool.catalog(), pool.settings()
    fetch = retry.retry_failed if config.retry_failed else shards.image_shards
    yield from over_partitions(context, catalog, lambda key: fetch(catalog, key, settings.download))


@partitioned(
    embed.EMBEDDINGS,
    group="embeddings",
    kinds={"openclip", "pytorch", "numpy"},
    schema=schemas.EMBEDDING_ROWS,
    needs=needs(cpus=4, gpus=devices_per_step(), memory_gib=8),
    deps=[image_shards],
    pool=GPU_POOL,
    checks=[vectors_check(embed.EMBEDDINGS.asset)],
)
def embeddings(context: dg.AssetExecutionContext, pool: Pool) -> Iterator[Event]:
    """CLIP embeddings of images and captions: unit rows of float16, one row for every sample."""
    catalog, settings = pool.catalog(), pool.settings()
    with devices.leased(settings.devices, settings.devices_per_step) as places:

        def load() -> Encoder:
            # Frozen, so hashable; pydantic tells it in a way that pyright does not read.
            return encoder(settings.inference, *places)  # pyright: ignore[reportArgumentType]

        def embed_partition(key: PartitionKey) -> Outcome:
            return embed.embeddings(catalog, key, settings.inference, load)

        yield from over_partitions(context, catalog, embed_partition)


@functools.lru_cache(maxsize=1)
def encoder(settings: Inference, *places: str) -> Encoder:
    """The model, loaded once in a process."""
    from clip_assets.encoders.openclip import loading

    return loading.load_encoder(settings, *places)
