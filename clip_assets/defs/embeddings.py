"""Assets of embeddings: image shards to vectors."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.inference.embeddings import EMBEDDINGS
from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.checks import vectors_check
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import GPU_POOL, devices_per_step, needs
from clip_assets.orchestration.resources import PoolResource


@declared(
    EMBEDDINGS,
    group="vectors",
    kinds={"openclip", "pytorch", "numpy"},
    needs=needs(cpus=4, gpus=devices_per_step(), memory_gib=8),
    concurrency_pool=GPU_POOL,
    checks=[vectors_check(EMBEDDINGS)],
)
def embeddings(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """CLIP embeddings of images and captions: unit rows of float16, one row for every sample."""
    opened = pool.open()
    with opened.leased_devices():
        yield from made(context, opened, EMBEDDINGS)
