"""Whether a run is alive, asked of the code server that started it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget

from clip_assets.orchestration.launcher import LocalRunLauncher

LAUNCHER = {"module": LocalRunLauncher.__module__, "class": LocalRunLauncher.__name__}

LOCATION = """
import os, threading
from pathlib import Path
import dagster as dg

@dg.op
def wait_to_be_killed():
    part = Path(__file__).with_name("part")
    part.write_text(str(os.getpid()))
    part.rename(part.with_name("pid"))
    threading.Event().wait()

@dg.job(executor_def=dg.in_process_executor)
def waiting():
    wait_to_be_killed()
"""


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A code location with a job that ends when it is killed."""
    path = tmp_path / "location.py"
    path.write_text(LOCATION)
    return path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty instance with our launcher."""
    with dg.instance_for_test(overrides={"run_launcher": LAUNCHER}) as made:
        yield made


def eventually(look: Callable[[], Any], limit_s: float = 120) -> Any:
    """The first true answer."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if answer := look():
            return answer
        time.sleep(0.1)
    pytest.fail(f"not within {limit_s} s")


@pytest.fixture
def context(instance: dg.DagsterInstance, location: Path) -> Iterator[WorkspaceProcessContext]:
    """The workspace of that location, with its code server."""
    target = PythonFileTarget(str(location), None, str(location.parent), None)
    with WorkspaceProcessContext(instance, target) as made:
        yield made


def start(context: WorkspaceProcessContext) -> dg.DagsterRun:
    """A run of the job, in a process of its own."""
    workspace = context.create_request_context()
    (place,) = workspace.code_locations
    (repository,) = place.get_repositories().values()
    job = repository.get_full_job("waiting")
    run = create_run_for_test(
        context.instance,
        job.name,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
    )
    return context.instance.launch_run(run.run_id, workspace)


@pytest.mark.slow
def test_a_run_whose_process_is_killed_is_gone_while_its_code_server_lives(
    context: WorkspaceProcessContext, location: Path
) -> None:
    launcher = context.instance.run_launcher
    assert launcher.supports_check_run_worker_health
    run = start(context)
    pid = eventually(lambda: written(location.with_name("pid")))
    try:
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    finally:
        psutil.Process(int(pid)).kill()
    health = eventually(lambda: dead(launcher, run))
    assert (health.status, health.msg) == (WorkerStatus.FAILED, "its process is gone")


def written(path: Path) -> str:
    """What the run has written, empty until then."""
    return path.read_text() if path.exists() else ""


def dead(launcher: Any, run: dg.DagsterRun) -> CheckRunHealthResult | None:
    """What the launcher says of a run that does not live."""
    health = launcher.check_run_worker_health(run)
    return None if health.status == WorkerStatus.RUNNING else health
