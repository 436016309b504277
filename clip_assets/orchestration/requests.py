"""Runs that bring the pool up to date, as Dagster requests."""

from collections.abc import Iterable, Iterator

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from clip_assets import states
from clip_assets.layout import WHOLE, Key
from clip_assets.orchestration.partitions import AXES, registered
from clip_assets.orchestration.tries import given_up
from clip_assets.pool.pool import Pool


def range_tags(first: Key, last: Key) -> dict[str, str]:
    """Tags of a run over a contiguous range of keys."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def run_requests(instance: dg.DagsterInstance, pool: Pool) -> Iterator[dg.RunRequest]:
    """One request for every contiguous range with unfinished partitions, then for fan-ins.

    A schedule's requests need keys of their own, which tell those of one night apart.

    A key that failed so often that it is not asked for again by itself is left out, see ``tries``.

    Fan-ins follow by their own conditions as partitions are made; those that are behind are
    requested here when no partition is left that could still be made.
    """
    assets = pool.assets.values()
    every = pool.partitions
    partitioned = [asset for asset in assets if asset.axis == "partition"]
    unfinished = states.unfinished(pool, assets, "partition")
    hopeless = given_up(instance, partitioned, unfinished)
    open_ones = [key for key in unfinished if key not in hopeless]
    for first, last in states.ranges(open_ones, registered(instance)):
        yield dg.RunRequest(
            run_key=f"{first}..{last}",
            tags=range_tags(first, last),
            asset_selection=_keys(asset.name for asset in partitioned),
        )
    if not every or set(open_ones) - set(states.failed(pool, assets, "partition")):
        return
    fan_ins = [asset for asset in assets if asset.axis != "partition"]
    whole = [asset for asset in fan_ins if asset.axis not in AXES]
    behind = [a.name for a in whole if {*a.states(pool, pool.keys(a.axis)).values()} != {"done"}]
    behind = [name for name in behind if not given_up(instance, [pool.assets[name]], [WHOLE])]
    if behind:
        yield dg.RunRequest(run_key="pool", asset_selection=_keys(behind))
    for axis in AXES.keys() - {"partition"}:
        of_axis = [asset for asset in fan_ins if asset.axis == axis]
        # One run for each key, which makes its assets in their order.
        behind_by_key: dict[Key, list[str]] = {}
        for asset in of_axis:
            left = states.unfinished(pool, [asset], axis)
            for key in {*left} - given_up(instance, [asset], left):
                behind_by_key.setdefault(key, []).append(asset.name)
        for key in sorted(behind_by_key, key=pool.keys(axis).index):
            yield dg.RunRequest(
                run_key=f"{axis} {key}",
                partition_key=key,
                asset_selection=_keys(behind_by_key[key]),
            )


def _keys(names: Iterable[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey(name) for name in names]
