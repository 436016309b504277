"""``clip-assets run``: what is made in which run, and what its failures say."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout
from clip_assets.definitions import build_defs
from clip_assets.errors import ConfigurationError
from clip_assets.graph import ASSETS, TABLE
from clip_assets.orchestration.partitions import AXES
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.runs import PoolRun, batches
from clip_assets.pool.asset import Asset
from clip_assets_tests.pools import KEYS, write_settings


def names(assets: Sequence[Asset]) -> list[str]:
    return [asset.name for asset in assets]


def test_whole_graph_is_made_in_as_few_runs_as_its_axes_allow() -> None:
    assert [(axis, set(names(batch))) for axis, batch in batches(TABLE)] == [
        ("partition", {*names(TABLE[:4]), "aesthetic", "pool_metadata"}),
        ("subset", {"subsets", "subset_shards"}),
        ("pool", {"metadata_stats", "index_recipe"}),
        ("partition", {"index_segments"}),
        ("pool", {"faiss_index", "id_mapping", "hub_dataset"}),
    ]


@given(st.permutations(TABLE), st.integers(1, len(TABLE)))
def test_runs_are_topological_and_few_whatever_the_order_of_the_table(
    table: list[Asset], number: int
) -> None:
    chosen = table[:number]
    seen: set[str] = set()
    runs = 0
    for axis, batch in batches(chosen):
        runs += 1
        for asset in batch:
            assert asset.axis == axis
            assert {*asset.deps} & {*names(chosen)} <= seen, "upstream comes first"
            seen.add(asset.name)
    assert seen == {*names(chosen)}
    assert runs == fewest(chosen)


def fewest(chosen: Sequence[Asset]) -> int:
    """The least number of runs: of every order of the axes, the one that is over first."""
    everything, made, count = frozenset(names(chosen)), {frozenset[str]()}, 0
    while everything not in made:
        made = {after(done, axis, chosen) for done in made for axis in (*AXES, "pool")}
        count += 1
    return count


def after(done: frozenset[str], axis: str, chosen: Sequence[Asset]) -> frozenset[str]:
    """What is made when all that can be of an axis is made."""
    everything = {*names(chosen)}
    while True:
        more = {a.name for a in chosen if a.axis == axis and everything & {*a.deps} <= done}
        if more <= done:
            return done
        done |= more


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance, in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def pool_run(resource: PoolResource, instance: dg.DagsterInstance) -> PoolRun:
    return PoolRun(build_defs(resource), resource, instance)


def test_failures_are_told_by_asset_and_key(pool_run: PoolRun, tmp_path: Path) -> None:
    (tmp_path / "sources" / "1.csv").unlink()
    summary = pool_run.run("raw_pairs,unique_pairs,index_recipe")
    assert set(summary.failures) == {f"raw_pairs {KEYS[1]}"}, "what lacks input is no failure"
    told = summary.failures[f"raw_pairs {KEYS[1]}"]
    assert told.startswith("SourceMissingError: ")
    assert "1.csv" in told
    assert summary.partitions == KEYS


def test_the_others_are_made_although_one_failed(
    pool_run: PoolRun, resource: PoolResource, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "1.csv").unlink()
    pool_run.run("raw_pairs,unique_pairs")
    states = ASSETS[layout.UNIQUE_PAIRS].states(resource.open(), KEYS)
    assert states == {KEYS[0]: "done", KEYS[1]: "missing", KEYS[2]: "done"}


def test_what_is_done_is_not_run_again(pool_run: PoolRun) -> None:
    first = pool_run.run("raw_pairs,unique_pairs")
    assert (len(first.runs), first.failures) == (1, {})
    again = pool_run.run("raw_pairs,unique_pairs")
    assert len(again.runs) == 1, "the summary is of the whole"


def test_what_was_worked_on_is_told_by_axis(pool_run: PoolRun) -> None:
    summary = pool_run.run("raw_pairs")
    assert summary.as_text() == "3 partitions worked on in 1 runs"
    summary = pool_run.run("subsets")
    assert summary.as_text() == "3 partitions, 2 subsets worked on in 2 runs"


def test_subsets_alone_are_told(pool_run: PoolRun) -> None:
    assert pool_run.run("subsets").as_text() == "2 subsets worked on in 1 runs"


def test_an_asset_of_the_whole_pool_is_told(pool_run: PoolRun) -> None:
    assert (
        pool_run.run("index_recipe").as_text() == "1 assets of the whole pool worked on in 1 runs"
    )


def test_lack_of_input_without_another_cause_is_a_failure(pool_run: PoolRun) -> None:
    summary = pool_run.run("index_recipe")
    assert set(summary.failures) == {"index_recipe"}
    assert summary.failures["index_recipe"].startswith("NotReadyError: ")


def test_subset_with_the_name_of_a_partition_that_failed_is_made(
    resource: PoolResource, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "1.csv").unlink()
    settings = yaml.safe_load((tmp_path / "data" / layout.SETTINGS_FILE).read_text())
    subsets = {"subsets": {KEYS[1]: {"baseline": "no_filter"}}}
    write_settings(tmp_path / "data", settings | subsets)
    PoolRun(build_defs(resource), resource, instance).run("raw_pairs,subsets")
    assert ASSETS[layout.SUBSETS].state(resource.open(), KEYS[1]) == "done"


@pytest.mark.parametrize("select", ["no_such_asset", "(", ""])
def test_selection_of_nothing_is_refused(pool_run: PoolRun, select: str) -> None:
    with pytest.raises(ConfigurationError, match="--select"):
        pool_run.run(select)
