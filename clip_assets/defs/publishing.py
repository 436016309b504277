"""Assets of what others get: the data set of a hub."""

from collections.abc import Iterator

import dagster as dg

from clip_assets.orchestration.bodies import Event, made
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import PoolResource
from clip_assets.publishing.hub_dataset import HUB_DATASET


@declared(
    HUB_DATASET,
    group="publishing",
    kinds={"parquet", "faiss", "huggingface"},
    needs=needs(memory_gib=8),
)
def hub_dataset(context: dg.AssetExecutionContext, pool: PoolResource) -> Iterator[Event]:
    """Rows, vectors and index as a data set of a hub, with its card; see ``hub.repository``."""
    yield from made(context, pool.open(), HUB_DATASET)
