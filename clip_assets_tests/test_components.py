"""Another Dagster project has a pool by one defs.yaml."""

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from clip_assets.components import ClipPool, ClipPoolAssets
from clip_assets.graph import ASSETS
from clip_assets_tests.pools import BIN, CHECKOUT

PROJECT = """
[project]
name = "tiny"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "tiny"

[tool.dg.cli.telemetry]
enabled = false
"""

DEFINITIONS = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""

OWN = """
import dagster as dg

@dg.asset(deps=["embeddings"])
def mine():
    pass
"""

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Makes a project with an asset of its own and one component."""

    def make(component: type[dg.Component], **attributes: Any) -> Path:
        package = tmp_path / "src" / "tiny"
        (package / "defs" / "pool").mkdir(parents=True)
        (tmp_path / "pyproject.toml").write_text(PROJECT)
        (package / "__init__.py").write_text("")
        (package / "definitions.py").write_text(DEFINITIONS)
        (package / "defs" / "own.py").write_text(OWN)
        declared = {
            "type": f"{component.__module__}.{component.__name__}",
            "attributes": attributes,
        }
        (package / "defs" / "pool" / "defs.yaml").write_text(yaml.safe_dump(declared))
        return tmp_path

    return make


def dg_says(folder: Path, *arguments: str, package: Path = CHECKOUT, **variables: str) -> str:
    """What ``dg`` says in a project."""
    paths = os.pathsep.join([str(package), str(folder / "src")])
    done = subprocess.run(
        [BIN / "dg", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(folder: Path, **variables: str) -> dict[str, list[dict[str, Any]]]:
    """Definitions of a project, by kind."""
    return json.loads(dg_says(folder, "list", "defs", "--json", **variables))


@pytest.mark.slow
def test_project_with_a_pool_has_its_graph_and_what_runs_it(project: Project) -> None:
    folder = project(ClipPool, root="{{ env.WHERE }}/pool")
    checked = dg_says(folder, "check", "defs", WHERE=str(folder))
    assert "All definitions loaded successfully." in checked
    found = listed(folder, WHERE=str(folder))
    assert {asset["asset_key"] for asset in found["assets"]} == {*ASSETS, "mine"}
    assert {sensor["name"] for sensor in found["sensors"]} == {"automation", "new_sources"}
    assert [schedule["name"] for schedule in found["schedules"]] == [
        "catch_up",
        "verify_nightly",
    ]
    assert not (folder / "pool").exists(), "loading looks at no pool"


@pytest.mark.slow
def test_project_with_the_assets_of_a_pool_depends_on_them_and_makes_none(
    project: Project,
) -> None:
    found = listed(project(ClipPoolAssets))
    assets = {asset["asset_key"]: asset for asset in found["assets"]}
    assert set(assets) == {*ASSETS, "mine"}
    assert [name for name, asset in assets.items() if asset["is_executable"]] == ["mine"]
    assert assets["embeddings"]["dependency_keys"] == ["image_shards"]
    assert found["sensors"] == found["schedules"] == []


@pytest.mark.slow
def test_components_are_found_where_the_package_is_installed(
    project: Project, tmp_path: Path
) -> None:
    build = [BIN / "python", "-m", "hatchling", "build", "--target", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=CHECKOUT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    folder = project(ClipPool)
    said = dg_says(folder, "list", "components", "--json", package=tmp_path / "installed")
    names = {component["key"] for component in json.loads(said)["items"]}
    assert {"clip_assets.components.ClipPool", "clip_assets.components.ClipPoolAssets"} <= names


@pytest.fixture
def context() -> dg.ComponentLoadContext:
    return dg.ComponentTree.for_test().load_context


def test_pool_of_the_component_is_the_one_that_it_names(
    tmp_path: Path, context: dg.ComponentLoadContext
) -> None:
    made = ClipPool(root=str(tmp_path / "named")).build_defs(context)
    assert (made.resources or {})["pool"].root == str(tmp_path / "named")
    assert made.executor is None, "the project's own decides"


def test_automation_of_the_component_leaves_the_assets_of_the_project_alone(
    context: dg.ComponentLoadContext,
) -> None:
    @dg.asset(automation_condition=dg.AutomationCondition.eager())
    def mine() -> None: ...

    made = ClipPool().build_defs(context)
    (automation,) = (sensor for sensor in made.sensors or [] if sensor.name == "automation")
    assert isinstance(automation, dg.AutomationConditionSensorDefinition)
    both = dg.Definitions.merge(made, dg.Definitions(assets=[mine]))
    graph = both.resolve_asset_graph()
    assert {key.to_user_string() for key in automation.asset_selection.resolve(graph)} == {*ASSETS}


def test_second_pool_in_a_project_is_refused(context: dg.ComponentLoadContext) -> None:
    pools = [ClipPool(root=root).build_defs(context) for root in ("a", "b")]
    with pytest.raises(dg.DagsterInvariantViolationError, match="different resources"):
        dg.Definitions.merge(*pools)
