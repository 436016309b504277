"""The asset graph is a reviewed text, and what Dagster loads is the table."""

from pathlib import Path

import dagster as dg
import pytest

from clip_assets import graph, layout
from clip_assets.definitions import build_defs, defs
from clip_assets.orchestration.checks import COUNTS
from clip_assets.orchestration.partitions import AXES

GRAPH = Path(__file__).with_name("graph.txt")
SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
BY_NAME = {spec.key.to_user_string(): spec for spec in SPECS}


def as_text() -> str:
    """Every asset with partitions, group, kinds and upstream assets."""
    lines: list[str] = []
    for spec in SPECS:
        deps = ", ".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or "-"
        partitions = spec.partitions_def.name if spec.partitions_def else "-"
        lines.append(
            f"{spec.key.to_user_string()} | {partitions} | {spec.group_name} | "
            f"{', '.join(sorted(spec.kinds))} | {deps}"
        )
    return "\n".join(lines) + "\n"


def test_graph_is_the_reviewed_one() -> None:
    assert as_text() == GRAPH.read_text(), "a wanted change? Write as_text() to graph.txt"


def test_dagster_has_the_assets_of_the_table_and_no_others() -> None:
    assert set(BY_NAME) == set(graph.ASSETS)
    assert {asset.name for asset in graph.TABLE} == set(graph.ASSETS)
    assert len(graph.TABLE) == len(graph.ASSETS)


@pytest.mark.parametrize("name", graph.ASSETS)
def test_dagster_says_of_an_asset_what_the_table_says(name: str) -> None:
    spec, asset = BY_NAME[name], graph.ASSETS[name]
    deps = {dep.asset_key.to_user_string() for dep in spec.deps}
    assert deps == set(asset.deps)
    assert len(deps) == len(asset.deps)
    assert spec.partitions_def == AXES.get(asset.axis)
    assert spec.code_version == asset.version


@pytest.mark.parametrize("name", graph.ASSETS)
def test_a_record_is_whole(name: str) -> None:
    asset = graph.ASSETS[name]
    assert set(asset.deps) <= set(graph.ASSETS)
    assert not asset.rows_from or asset.rows_from in asset.deps
    assert not {*asset.deps, *asset.settings} & {*asset.heeds}
    assert asset.make.__name__ == name
    assert any(kind.made_by == name for kind in layout.ARTIFACTS)


def test_rows_are_handed_on_from_key_to_key() -> None:
    """A count is compared with the same key of the upstream, so both are cut alike."""
    for asset in graph.ASSETS.values():
        assert not asset.rows_from or graph.ASSETS[asset.rows_from].axis == asset.axis


def test_every_asset_comes_after_what_it_is_made_from() -> None:
    order = list(graph.ASSETS)
    for name, asset in graph.ASSETS.items():
        assert all(order.index(dep) < order.index(name) for dep in asset.deps)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
def test_every_asset_explains_itself(spec: dg.AssetSpec) -> None:
    assert spec.description
    assert spec.owners
    assert spec.kinds
    assert spec.code_version
    assert spec.group_name != "default"
    assert spec.automation_condition


def test_every_asset_has_the_blocking_check_of_counts() -> None:
    checks = {
        check.asset_key: check
        for checks_def in defs.resolve_asset_graph().assets_defs
        for check in checks_def.check_specs
        if check.name == COUNTS
    }
    assert {spec.key for spec in SPECS} == set(checks)
    assert all(check.blocking for check in checks.values())


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(build_defs())
