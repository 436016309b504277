"""The ledger is the truth; Dagster follows it."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from clip_assets.orchestration import partitions
from clip_assets.orchestration.automation import catch_up, new_sources
from clip_assets.orchestration.resources import Pool

KEYS = ["00000", "00001", "00002"]


def test_partitions_planned_before_a_kill_are_registered_by_the_next_look(
    pool: Pool, instance: dg.DagsterInstance
) -> None:
    # The fixture has planned; the process that planned never came to registering.
    instance.add_dynamic_partitions("pool_partition", KEYS[:1])
    assert partitions.sync(instance, pool.store()) == KEYS[1:]
    assert partitions.registered(instance) == KEYS
    assert partitions.sync(instance, pool.store()) == []


def test_lost_instance_gets_every_partition_again(pool: Pool) -> None:
    with dg.instance_for_test() as new:
        assert partitions.sync(new, pool.store()) == KEYS


def test_sensor_adds_partitions_and_requests_nothing(
    pool: Pool, instance: dg.DagsterInstance
) -> None:
    result = look(pool, instance, None)
    assert added(result) == KEYS
    assert not result.run_requests


def look(pool: Pool, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        result = new_sources(context, pool=pool)
    assert isinstance(result, dg.SensorResult)
    return result


def added(result: dg.SensorResult) -> list[str]:
    return [key for made in result.dynamic_partitions_requests or [] for key in made.partition_keys]


def test_sensor_plans_a_new_file_once_it_is_complete(
    pool: Pool, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.sync(instance, pool.store())
    folder = Path(pool.store().base).parent / "sources"
    monkeypatch.setenv("CLIP_ASSETS_SOURCES__WATCH", f'["{folder}"]')
    nothing_new = look(pool, instance, None)
    assert added(nothing_new) == []
    new = folder / "9.csv"
    new.write_text("url,caption\nhttp://h/new.jpg,half of a ro")
    first = look(pool, instance, nothing_new.cursor)
    assert added(first) == [], "seen for the first time, it may still be growing"
    new.write_text("url,caption\nhttp://h/new.jpg,half of a row, and the rest\n")
    second = look(pool, instance, first.cursor)
    assert added(second) == [], "and it was"
    third = look(pool, instance, second.cursor)
    assert added(third) == ["00003"]
    instance.add_dynamic_partitions("pool_partition", added(third))
    assert added(look(pool, instance, third.cursor)) == []


def test_schedule_requests_what_is_not_done_in_ranges(
    pool: Pool, instance: dg.DagsterInstance
) -> None:
    with dg.build_schedule_context(instance=instance) as context:
        (request,) = list(catch_up(context, pool=pool))
    assert request.tags["dagster/asset_partition_range_start"] == KEYS[0]
    assert request.tags["dagster/asset_partition_range_end"] == KEYS[-1]
    assert dg.AssetKey("embeddings") in request.asset_selection
    assert partitions.registered(instance) == KEYS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["asset", "materialize", "--select", "embeddings"], "True"),
        (["asset", "materialize", "--select", "embeddings", "--partition", "00000"], "False"),
        (["asset", "materialize", "--select", "x", "--partition-range", "a...b"], "False"),
        (["dev"], "False"),
        (["asset", "list"], "False"),
    ],
)
def test_only_a_command_without_a_partition_fills_what_is_missing(
    arguments: list[str], expected: str
) -> None:
    probe = "from clip_assets.defs import partitions; print(partitions.PARTITIONS is None)"
    command = [sys.executable, "-c", probe, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == expected
