"""``dagster asset materialize`` without a partition, and with a range of them."""

import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from clip_assets import graph
from clip_assets.layout import Key
from clip_assets.orchestration import fill, partitions
from clip_assets.orchestration.checks import COUNTS
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pool.pool import Pool
from clip_assets_tests.pools import KEYS, PoolAt

MATERIALIZE = ("asset", "materialize", "--select")


@pytest.mark.parametrize(
    ("arguments", "fills", "takes_a_range"),
    [
        ([*MATERIALIZE, "embeddings"], True, False),
        ([*MATERIALIZE, "embeddings", "--partition", "00000"], False, False),
        ([*MATERIALIZE, "x", "--partition-range", "a...b"], False, True),
        (["dev"], False, False),
        (["asset", "list"], False, False),
    ],
)
def test_the_command_line_says_what_is_meant(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], fills: bool, takes_a_range: bool
) -> None:
    # Set first, so that what a fill writes for its steps is taken back too.
    monkeypatch.setenv(fill.VARIABLE, "")
    monkeypatch.setattr(sys, "argv", ["dagster", *arguments])
    assert (fill.fills_missing(), fill.takes_a_range()) == (fills, takes_a_range)


@pytest.fixture
def pool_at(resource: PoolResource, tmp_path: Path) -> PoolAt:
    """The pool, with an instance that knows its keys."""
    made = PoolAt(tmp_path)
    made.new_instance()
    with dg.DagsterInstance.from_config(str(made.home)) as instance:
        partitions.sync(instance, resource.open())
    return made


def recorded(pool_at: PoolAt, asset: str) -> tuple[set[str], dict[str | None, list[str]]]:
    """Materialized keys of an asset, and by key the verdicts on its rows, oldest first."""
    key = dg.AssetKey(asset)
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        verdicts: dict[str | None, list[str]] = {}
        for record in instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, COUNTS), limit=50
        ):
            verdicts.setdefault(record.partition, []).insert(0, record.status.value)
        return set(instance.get_materialized_partitions(key)), verdicts


def opened(pool_at: PoolAt) -> Pool:
    return graph.open_pool(str(pool_at.root))


def make_stale(pool_at: PoolAt, asset: str, key: Key) -> None:
    """Make it look as if an earlier release had made it."""
    catalog = opened(pool_at).catalog
    catalog.put(replace(catalog.require(asset, key), code_version="earlier"))


@pytest.mark.slow
def test_a_range_is_one_run_with_a_verdict_for_each_key(pool_at: PoolAt) -> None:
    keys = "...".join(KEYS[:2])
    pool_at.run("dagster", *MATERIALIZE, "raw_pairs,unique_pairs", "--partition-range", keys)
    expected = set(KEYS[:2]), {key: ["SUCCEEDED"] for key in KEYS[:2]}
    assert recorded(pool_at, "raw_pairs") == recorded(pool_at, "unique_pairs") == expected
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        assert len(instance.get_runs()) == 1


@pytest.mark.slow
def test_without_a_partition_what_the_store_lacks_is_made(pool_at: PoolAt, tmp_path: Path) -> None:
    pool_at.run("dagster", *MATERIALIZE, "raw_pairs,subsets")
    assert recorded(pool_at, "raw_pairs")[0] == set(KEYS)
    assert recorded(pool_at, "subsets")[0] == {"no_filter", "basic_filter"}
    # Whatever Dagster has seen, the store says what is missing or stale, on each axis.
    make_stale(pool_at, "raw_pairs", KEYS[0])
    make_stale(pool_at, "raw_pairs", KEYS[1])
    make_stale(pool_at, "subsets", Key("no_filter"))
    (tmp_path / "sources" / "1.csv").unlink()

    told = pool_at.run("dagster", *MATERIALIZE, "raw_pairs,unique_pairs,subsets", code=1)

    assert "raw_pairs: 2 of 3 partitions to make: 00000 (stale), 00001 (stale)" in told
    assert "subsets: 1 of 2 subsets to make: no_filter (stale)" in told
    assert "1 of 2 partitions failed: 00001" in told
    states = {
        asset: graph.ASSETS[asset].states(opened(pool_at), keys)
        for asset, keys in (("raw_pairs", KEYS), ("subsets", [Key("no_filter")]))
    }
    assert states["raw_pairs"] == {KEYS[0]: "done", KEYS[1]: "failed", KEYS[2]: "done"}
    assert states["subsets"] == {"no_filter": "done"}
    assert recorded(pool_at, "unique_pairs")[0] == set(), "it waits for all of its upstream"
    _, verdicts = recorded(pool_at, "raw_pairs")
    assert verdicts[KEYS[0]] == ["SUCCEEDED", "SUCCEEDED"]
    assert verdicts[KEYS[1]] == ["SUCCEEDED", "FAILED"], "it was not made this time"
    assert verdicts[KEYS[2]] == ["SUCCEEDED"]
