"""Runs that bring the pool up to date, as Dagster requests."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from clip_assets import planning
from clip_assets.layout import PartitionKey
from clip_assets.orchestration.resources import Pool


def range_tags(first: PartitionKey, last: PartitionKey) -> dict[str, str]:
    """Tags of a run over a contiguous range of partitions."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def asset_key(asset: str) -> dg.AssetKey:
    """Dagster's key of an asset of the plan."""
    return dg.AssetKey(asset.split("/"))


def run_requests(pool: Pool) -> Iterator[dg.RunRequest]:
    """One request for every contiguous range with unfinished partitions.

    Fan-in assets follow by their own conditions; they are requested here when no partition
    is left that could still be made.
    """
    catalog = pool.catalog()
    nodes = planning.graph(catalog, pool.settings())
    every = planning.partitions_of(catalog)
    partitioned = [asset_key(node.asset) for node in nodes if node.inputs is not None]
    open_ranges = planning.ranges(planning.unfinished(catalog, nodes, every), every)
    for first, last in open_ranges:
        yield dg.RunRequest(tags=range_tags(first, last), asset_selection=partitioned)
    if not every:
        return
    behind = [
        asset_key(node.asset)
        for node in nodes
        if node.pool_inputs is not None and node.states(catalog, every)[None] != "done"
    ]
    hopeless = set(planning.failed(catalog, nodes, every))
    if behind and all(first == last and first in hopeless for first, last in open_ranges):
        yield dg.RunRequest(asset_selection=behind)
