"""One run over many keys reports each on its own."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from clip_assets.defs.images import image_shards
from clip_assets.defs.metadata import metadata_stats
from clip_assets.defs.pairs import raw_pairs, unique_pairs
from clip_assets.layout import Key
from clip_assets.orchestration import partitions
from clip_assets.orchestration.bodies import ERRORS
from clip_assets.orchestration.checks import COUNTS
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets_tests.pools import KEYS


@pytest.fixture
def ready(resource: PoolResource, instance: dg.DagsterInstance) -> dg.DagsterInstance:
    partitions.sync(instance, resource.open())
    return instance


def run(
    resource: PoolResource,
    instance: dg.DagsterInstance,
    *assets: dg.AssetsDefinition,
    tags: dict | None = None,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets or [raw_pairs, unique_pairs],
        selection=[asset.key for asset in assets] if assets else None,
        instance=instance,
        resources={"pool": resource},
        tags=range_tags(KEYS[0], KEYS[-1]) | (tags or {}),
        raise_on_error=False,
    )


def materialized(instance: dg.DagsterInstance, asset: str) -> dict[str | None, dict]:
    """Metadata by partition, of the last one each."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=10, ascending=True).records
    return {record.partition_key: dict(record.asset_materialization.metadata) for record in records}


def told(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, list[str]]]:
    """What the one failed step says: its sentence, and class and message by key."""
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    details = failure.step_failure_data.user_failure_data
    assert [*details.metadata[ERRORS].data] == [failure.step_key]
    return details.description, details.metadata[ERRORS].data[failure.step_key]


def test_range_is_one_run_with_metadata_for_each_partition(
    resource: PoolResource, ready: dg.DagsterInstance
) -> None:
    assert run(resource, ready).success
    assert len(ready.get_runs()) == 1
    found = materialized(ready, "unique_pairs")
    assert set(found) == set(KEYS)
    rows = {key: entry["dagster/partition_row_count"].value for key, entry in found.items()}
    assert rows == {KEYS[0]: 10, KEYS[1]: 8, KEYS[2]: 10}
    told = found[KEYS[1]]
    assert next(iter(told)) == "summary"
    assert "2 duplicate of 00000" in told["summary"].value
    assert told["rows_dropped"].value == 2
    assert found[KEYS[0]]["dagster/uri"].value.endswith("unique/00000.parquet")


def test_failed_partition_is_told_apart_and_the_others_are_recorded(
    resource: PoolResource, ready: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "1.csv").unlink()
    result = run(resource, ready)
    assert not result.success
    sentence, by_key = told(result)
    assert set(by_key) == {KEYS[1]}
    error, message = by_key[KEYS[1]]
    assert error == "SourceMissingError"
    assert "1.csv" in message
    assert sentence.startswith("raw_pairs: 1 of 3 partitions failed: 00001")
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    by_itself = failure.step_failure_data.user_failure_data.metadata["by_itself"].value
    assert by_itself.startswith("00001: 1 try; asked for again by itself at ")
    assert set(materialized(ready, "raw_pairs")) == {KEYS[0], KEYS[2]}
    checked = verdicts(ready, "raw_pairs", result.run_id)
    assert checked == {KEYS[0]: "SUCCEEDED", KEYS[1]: "FAILED", KEYS[2]: "SUCCEEDED"}
    skipped = verdicts(ready, "unique_pairs", result.run_id)
    assert {*skipped.values()} == {"PLANNED"}, "it was not run"


@pytest.mark.parametrize("typed", ["foo", "00042"])
def test_key_that_the_pool_does_not_have_is_named_and_leaves_nothing(
    resource: PoolResource, ready: dg.DagsterInstance, typed: str
) -> None:
    ready.add_dynamic_partitions(str(partitions.POOL_PARTITIONS.name), [typed])
    pool = resource.open()
    before = pool.store.list("")
    result = run(resource, ready, raw_pairs, tags=range_tags(Key(typed), Key(typed)))
    sentence, errors = told(result)
    assert f"partition {typed!r}" in sentence
    assert "00000..00002" in sentence
    assert [*errors] == [typed]
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    by_itself = failure.step_failure_data.user_failure_data.metadata["by_itself"].value
    assert by_itself == "not asked for again"
    assert pool.store.list("") == before


def test_finished_partitions_are_skipped_by_the_next_run(
    resource: PoolResource, ready: dg.DagsterInstance
) -> None:
    run(resource, ready)
    again = run(resource, ready)
    assert again.success
    found = materialized(ready, "raw_pairs")
    assert {key: entry["was_current"].value for key, entry in found.items()} == dict.fromkeys(
        KEYS, True
    )


def miscount(resource: PoolResource, key: Key) -> None:
    """Make the manifest of a partition's raw pairs promise a row that is not there."""
    catalog = resource.open().catalog
    before = catalog.require("raw_pairs", key)
    catalog.put(replace(before, report=replace(before.report, rows_in=11, rows_out=11)))


@pytest.mark.parametrize("keys", [KEYS, KEYS[1:2]], ids=["many keys", "one key"])
def test_check_of_counts_fails_and_blocks_what_is_downstream(
    resource: PoolResource, ready: dg.DagsterInstance, keys: list[Key]
) -> None:
    assert run(resource, ready, raw_pairs).success
    miscount(resource, KEYS[1])
    ends = range_tags(keys[0], keys[-1])
    result = run(resource, ready, unique_pairs, image_shards, tags=ends)
    assert not result.success
    assert [
        (check.check_name, check.partition, check.passed)
        for check in result.get_asset_check_evaluations()
    ] == [(COUNTS, key, key != KEYS[1]) for key in keys]
    assert verdicts(ready, "unique_pairs", result.run_id) == {
        key: "FAILED" if key == KEYS[1] else "SUCCEEDED" for key in keys
    }
    assert set(materialized(ready, "unique_pairs")) == {*keys} - {KEYS[1]}
    assert not result.filter_events(lambda event: event.step_key == "image_shards")


def verdicts(instance: dg.DagsterInstance, asset: str, run_id: str) -> dict[str | None, str]:
    """What the instance says by key of a run's check of counts; one verdict each."""
    check = dg.AssetCheckKey(dg.AssetKey(asset), COUNTS)
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=50)
    of_run = [(one.partition, one.status.value) for one in history if one.run_id == run_id]
    assert len(dict(of_run)) == len(of_run)
    return dict(of_run)


def test_each_key_has_a_verdict_on_its_last_materialization(
    resource: PoolResource, ready: dg.DagsterInstance
) -> None:
    result = run(resource, ready)
    assert verdicts(ready, "raw_pairs", result.run_id) == dict.fromkeys(KEYS, "SUCCEEDED")
    check = dg.AssetCheckKey(raw_pairs.key, COUNTS)
    of_keys = ready.event_log_storage.get_asset_check_partition_info([check])
    assert {info.partition_key: info.is_current for info in of_keys} == dict.fromkeys(KEYS, True)
    outputs = result.filter_events(lambda event: event.is_successful_output)
    assert "raw_pairs_rows_add_up" in {event.step_output_data.output_name for event in outputs}, (
        "what the stage downstream waits for"
    )


def test_a_check_that_had_nothing_to_look_at_has_not_passed(
    resource: PoolResource, ready: dg.DagsterInstance
) -> None:
    # Without embeddings there is no index; statistics can be made of nothing.
    result = dg.materialize([metadata_stats], instance=ready, resources={"pool": resource})
    assert verdicts(ready, "metadata_stats", result.run_id) == {None: "FAILED"}
    (check,) = result.get_asset_check_evaluations()
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert result.success, "which blocks nothing"


def waiting(
    resource: PoolResource, instance: dg.DagsterInstance, **tags: str
) -> dg.ExecuteInProcessResult:
    """A run over the last partition when the earlier ones were not made."""
    last = range_tags(KEYS[2], KEYS[2])
    assert run(resource, instance, raw_pairs, tags=last).success
    return run(resource, instance, unique_pairs, tags=last | tags)


def test_range_without_its_earlier_partitions_fails_at_once_by_hand(
    resource: PoolResource, ready: dg.DagsterInstance
) -> None:
    result = waiting(resource, ready)
    assert not result.filter_events(lambda event: event.is_step_up_for_retry)
    _, by_key = told(result)
    error, message = by_key[KEYS[2]]
    assert error == "NotReadyError"
    assert "00000, 00001" in message


@pytest.mark.parametrize(
    "tag", ["dagster/backfill", "dagster/from_automation_condition", "dagster/schedule_name"]
)
def test_range_without_its_earlier_partitions_waits_when_it_is_automatic(
    resource: PoolResource, ready: dg.DagsterInstance, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_assets.orchestration.bodies.WAIT_S", 0)
    monkeypatch.setattr("clip_assets.orchestration.bodies.MAX_WAITS", 2)
    result = waiting(resource, ready, **{tag: "x"})
    assert not result.success
    retries = result.filter_events(lambda event: event.is_step_up_for_retry)
    assert [event.step_key for event in retries] == ["unique_pairs"] * 2
