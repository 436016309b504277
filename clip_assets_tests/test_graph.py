"""The asset graph is a reviewed text."""

from pathlib import Path

import dagster as dg
import pytest

from clip_assets.definitions import build_defs, defs

GRAPH = Path(__file__).with_name("graph.txt")
SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)


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
    }
    assert {spec.key for spec in SPECS} == set(checks)
    assert all(check.blocking for check in checks.values())


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(build_defs())
