"""What other tools read of this checkout: Dagster's dg, pre-commit, continuous integration, pip."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from clip_assets.definitions import defs
from clip_assets_tests.pools import BIN, CHECKOUT


def run(command: str, *arguments: str) -> str:
    """A command of the environment, in the checkout; what it printed."""
    done = subprocess.run(
        [BIN / command, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_dg_checks_the_definitions() -> None:
    assert "All definitions loaded successfully." in run("dg", "check", "defs")


@pytest.mark.slow
def test_dg_lists_every_asset() -> None:
    listed = json.loads(run("dg", "list", "defs", "--json"))["assets"]
    assert {asset["asset_key"] for asset in listed} == {
        spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()
    }


def test_imports_are_the_declared_dependencies() -> None:
    run("deptry", "clip_assets")


def test_the_wheel_holds_the_package_with_its_page_and_nothing_else(tmp_path: Path) -> None:
    run("python", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for path in (CHECKOUT / "clip_assets").rglob("*") if path.is_file()]
    made = {str(path.relative_to(CHECKOUT)) for path in files if "__pycache__" not in path.parts}
    assert {"clip_assets/py.typed", "clip_assets/service/page/index.html"} <= made <= {*names}
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"clip_assets"}


def test_hooks_are_valid_and_call_tools_of_the_lock() -> None:
    run("pre-commit", "validate-config", ".pre-commit-config.yaml")
    config = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    for hook in config["repos"][0]["hooks"]:
        tool = hook["entry"].split()[0]
        assert tool == f".venv/bin/{Path(tool).name}"
        assert (BIN / Path(tool).name).is_file()


def test_the_workflow_runs_what_is_run_here() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["run"]["steps"] if "run" in step]
    assert commands == ["sudo .ci/system", "bash .ci/run"]
    assert all((CHECKOUT / command.split()[-1]).is_file() for command in commands)
