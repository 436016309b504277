"""One run over many partitions reports each on its own."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from clip_assets import layout
from clip_assets.defs.pairs import raw_pairs, unique_pairs
from clip_assets.orchestration import partitions
from clip_assets.orchestration.bodies import COUNTS
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import Pool
from clip_assets.storage.manifests import Catalog

KEYS = [layout.partition_key(number) for number in range(3)]


@pytest.fixture
def ready(pool: Pool, instance: dg.DagsterInstance) -> dg.DagsterInstance:
    partitions.sync(instance, pool.store())
    return instance


def run(
    pool: Pool, instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, tags: dict | None = None
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets or [raw_pairs, unique_pairs],
        selection=[asset.key for asset in assets] if assets else None,
        instance=instance,
        resources={"pool": pool},
        tags=range_tags(KEYS[0], KEYS[-1]) | (tags or {}),
        raise_on_error=False,
    )


def materialized(instance: dg.DagsterInstance, asset: str) -> dict[str | None, dict]:
    """Metadata by partition, of the last one each."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=10, ascending=True).records
    return {record.partition_key: dict(record.asset_materialization.metadata) for record in records}


def test_range_is_one_run_with_metadata_for_each_partition(
    pool: Pool, ready: dg.DagsterInstance
) -> None:
    assert run(pool, ready).success
    assert len(ready.get_runs()) == 1
    found = materialized(ready, "unique_pairs")
    assert set(found) == set(KEYS)
    rows = {key: entry["dagster/partition_row_count"].value for key, entry in found.items()}
    assert rows == {KEYS[0]: 10, KEYS[1]: 8, KEYS[2]: 10}
    assert found[KEYS[1]]["rows_dropped"].value == {"duplicate of 00000": 2}
    assert found[KEYS[0]]["dagster/uri"].value.endswith("unique/00000.parquet")


def test_failed_partition_is_told_apart_and_the_others_are_recorded(
    pool: Pool, ready: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "1.csv").unlink()
    result = run(pool, ready)
    assert not result.success
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_key == "raw_pairs"
    details = failure.step_failure_data.user_failure_data
    assert set(details.metadata) == {KEYS[1]}
    assert "SourceMissingError" in str(details.metadata[KEYS[1]].value)
    assert "1.csv" in str(details.metadata[KEYS[1]].value)
    assert details.description.startswith("raw_pairs: 1 of 3 partitions failed: 00001")
    assert set(materialized(ready, "raw_pairs")) == {KEYS[0], KEYS[2]}


def test_finished_partitions_are_skipped_by_the_next_run(
    pool: Pool, ready: dg.DagsterInstance
) -> None:
    run(pool, ready)
    again = run(pool, ready)
    assert again.success
    found = materialized(ready, "raw_pairs")
    assert {key: entry["was_current"].value for key, entry in found.items()} == dict.fromkeys(
        KEYS, True
    )


def test_check_of_counts_fails_and_blocks_what_is_downstream(
    pool: Pool, ready: dg.DagsterInstance
) -> None:
    assert run(pool, ready, raw_pairs).success
    catalog = Catalog(pool.store())
    before = catalog.require("raw_pairs", KEYS[1])
    report = replace(before.report, rows_in=11, rows_out=11)
    catalog.put(replace(before, report=report))
    result = run(pool, ready, unique_pairs)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (COUNTS, False)
    assert set(materialized(ready, "unique_pairs")) == {KEYS[0], KEYS[2]}


def test_range_without_its_earlier_partitions_waits_when_it_is_automatic(
    pool: Pool, ready: dg.DagsterInstance
) -> None:
    tags = {**range_tags(KEYS[2], KEYS[2])}
    assert run(pool, ready, raw_pairs, tags=tags).success
    by_hand = run(pool, ready, unique_pairs, tags=tags)
    (failure,) = by_hand.filter_events(lambda event: event.is_step_failure)
    message = str(failure.step_failure_data.user_failure_data.metadata[KEYS[2]].value)
    assert "NotReadyError" in message
    assert "00000, 00001" in message
