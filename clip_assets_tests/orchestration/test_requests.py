"""What is asked for to bring a pool up to date."""

import dagster as dg
import pytest

from clip_assets import layout
from clip_assets.graph import ASSETS
from clip_assets.layout import WHOLE, Key
from clip_assets.orchestration import partitions
from clip_assets.orchestration.requests import range_tags, run_requests
from clip_assets.storage.manifests import Failure
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

FAILURE = Failure("SourceMissingError", "a.csv is gone", "2026-01-01T12:00:00+00:00")

ON = {
    axis: {name for name, asset in ASSETS.items() if asset.axis == axis}
    for axis in ("partition", "pool")
}
KEYS = [layout.partition_key(number) for number in range(4)]


@pytest.fixture
def made(local_store: Store) -> MadeUp:
    """Four partitions, of which the first and the last are done."""
    pool = MadeUp(local_store)
    pool.plan(0, 1, 2, 3)
    for key in (KEYS[0], KEYS[3]):
        for name in ON["partition"]:
            pool.make(name, key, 1, {})
    return pool


def fail(made: MadeUp, *keys: Key) -> None:
    for key in keys:
        made.pool.catalog.put_failure(layout.RAW_PAIRS, key, FAILURE)


def requested(made: MadeUp) -> list[tuple[set[str], dict[str, str] | str | None]]:
    """Of each request: the assets, and the range, key or nothing that it is over."""
    with dg.DagsterInstance.ephemeral() as instance:
        partitions.sync(instance, made.pool)
        requests = list(run_requests(instance, made.pool))
    return [
        (
            {key.to_user_string() for key in request.asset_selection or []},
            dict(request.tags) or request.partition_key,
        )
        for request in requests
    ]


NEIGHBOURS = (ON["partition"], range_tags(KEYS[1], KEYS[2]))
SUBSETS = [
    ({layout.SUBSETS, layout.SUBSET_SHARDS}, "no_filter"),
    ({layout.SUBSETS, layout.SUBSET_SHARDS}, "basic_filter"),
]


def test_neighbours_that_are_not_done_are_one_run_and_fan_ins_follow_by_themselves(
    made: MadeUp,
) -> None:
    fail(made, KEYS[1])
    assert requested(made) == [NEIGHBOURS]


def test_fan_ins_are_asked_for_when_all_that_is_left_has_failed(made: MadeUp) -> None:
    fail(made, KEYS[1], KEYS[2])
    assert requested(made) == [NEIGHBOURS, (ON["pool"], None), *SUBSETS]


def test_only_fan_ins_that_are_behind_are_asked_for(made: MadeUp) -> None:
    fail(made, KEYS[1], KEYS[2])
    for name in ON["pool"] - {layout.METADATA_STATS}:
        made.make(name, WHOLE, 1, {})
    made.make(layout.SUBSETS, Key("no_filter"), 1, {})
    rest = ({layout.SUBSET_SHARDS}, "no_filter")
    assert requested(made) == [NEIGHBOURS, ({layout.METADATA_STATS}, None), rest, SUBSETS[1]]


def test_nothing_is_asked_of_an_empty_pool(local_store: Store) -> None:
    assert requested(MadeUp(local_store)) == []
