"""Index segments as a step with the needs of embedding, for pools whose settings say ``on_device``.

The stage is that of ``defs.index``.
"""

from collections.abc import Iterator

import dagster as dg

from clip_assets.defs.index import GROUP
from clip_assets.index.index_segments import INDEX_SEGMENTS
from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import GPU_POOL, devices_per_step, needs
from clip_assets.orchestration.resources import PoolResource


def segments_on_device() -> dg.AssetsDefinition:
    """The asset, told as in ``defs.index``."""

    @declared(
        INDEX_SEGMENTS,
        group=GROUP,
        kinds={"faiss"},
        needs=needs(cpus=2, gpus=devices_per_step(), memory_gib=8),
        concurrency_pool=GPU_POOL,
    )
    def on_device(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
        """The vectors of one partition, encoded as the recipe says."""
        opened = pool.open()
        with opened.leased_devices():
            yield from made(context, opened, INDEX_SEGMENTS)

    return on_device
