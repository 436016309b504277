"""The sensor makes keys known; the schedule asks for what the day left behind."""

from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from clip_assets import layout
from clip_assets.definitions import build_defs
from clip_assets.defs.sensors import new_sources
from clip_assets.orchestration import partitions
from clip_assets.orchestration.bodies import AUTOMATIC
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets.settings import SUBSETS
from clip_assets.storage.manifests import Failure
from clip_assets_tests.pools import KEYS, write_settings


def look(
    resource: PoolResource, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult:
    """One look of the sensor; what it adds is known afterwards, as its daemon sees to."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        result = new_sources(context, pool=resource)
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return result


def added(result: dg.SensorResult, axis: str = "pool_partition") -> list[str]:
    """Keys that a look adds to an axis."""
    return [
        key
        for request in result.dynamic_partitions_requests or []
        if request.partitions_def_name == axis
        for key in request.partition_keys
    ]


def set_up(resource: PoolResource, **settings: Any) -> None:
    """Change sections of the pool's settings file."""
    root = Path(resource.root)
    before = yaml.safe_load((root / layout.SETTINGS_FILE).read_text())
    write_settings(root, before | settings)


def test_sensor_adds_partitions_and_requests_nothing(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    result = look(resource, instance)
    assert added(result) == KEYS
    assert added(result, "subset") == list(SUBSETS)
    assert not look(resource, instance).dynamic_partitions_requests, "and then all are known"


def test_sensor_plans_a_new_file_once_it_is_complete(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    partitions.sync(instance, resource.open())
    folder = Path(resource.root).parent / "sources"
    set_up(resource, sources={"rows_per_partition": 10, "watch": [str(folder)]})
    nothing_new = look(resource, instance)
    assert added(nothing_new) == []
    new = folder / "9.csv"
    new.write_text("url,caption\nhttp://h/new.jpg,half of a ro")
    first = look(resource, instance, nothing_new.cursor)
    assert added(first) == [], "seen for the first time, it may still be growing"
    new.write_text("url,caption\nhttp://h/new.jpg,half of a row, and the rest\n")
    second = look(resource, instance, first.cursor)
    assert added(second) == [], "and it was"
    third = look(resource, instance, second.cursor)
    assert added(third) == ["00003"]
    assert added(look(resource, instance, third.cursor)) == []


def test_sensor_adds_a_subset_that_the_settings_begin_to_name(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    look(resource, instance)
    set_up(resource, subsets={"mine": {"baseline": "no_filter"}})
    assert added(look(resource, instance), "subset") == ["mine"]


def test_sensor_names_keys_that_only_dagster_has_and_when_what_failed_is_asked_for_again(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    look(resource, instance)
    (Path(resource.root).parent / "sources" / "1.csv").unlink()
    job = build_defs(resource).resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(layout.RAW_PAIRS)],
        partition_key=KEYS[1],
        raise_on_error=False,
    )
    partitions_of_pool = str(partitions.POOL_PARTITIONS.name)
    instance.add_dynamic_partitions(partitions_of_pool, ["foo", ""])
    result = look(resource, instance)
    assert not result.dynamic_partitions_requests
    assert result.skip_reason is not None
    unknown, empty, failed = str(result.skip_reason.skip_message).splitlines()
    assert "partition 'foo'" in unknown
    assert "partition ''" in empty
    assert failed.startswith("raw_pairs 00001: 1 try; asked for again by itself at 20")


def test_schedule_makes_keys_known_and_requests_runs_of_both_axes(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    failure = Failure("SourceMissingError", "a.csv is gone", "2026-01-01T12:00:00+00:00")
    for key in KEYS:
        resource.open().catalog.put_failure(layout.RAW_PAIRS, key, failure)
    repository = build_defs(resource).get_repository_def()
    with dg.build_schedule_context(
        instance=instance, repository_def=repository, resources={"pool": resource}
    ) as context:
        ranges, whole, *by_subset = (
            repository.get_schedule_def("catch_up").evaluate_tick(context).run_requests
        )
    assert partitions.registered(instance) == KEYS
    assert ranges.tags.items() >= range_tags(KEYS[0], KEYS[-1]).items()
    assert dg.AssetKey("faiss_index") in whole.asset_selection
    assert [request.tags["dagster/partition"] for request in by_subset] == list(SUBSETS)
    for request in by_subset:
        selected = {key.to_user_string() for key in request.asset_selection or ()}
        assert selected == {layout.SUBSETS, layout.SUBSET_SHARDS}, "in one run, in their order"
    for request in (ranges, whole, *by_subset):
        assert AUTOMATIC & {*request.tags}, "so that it waits for what another run makes"
