"""Runs of command lines that were killed.

Dagster's daemon watches only runs that it launched. A run executed in a command's own
process and killed with it would stay "started" for ever and keep its slots of the
concurrency pools, so the next command buries it.
"""

import logging
import os
import socket
from pathlib import Path

import dagster as dg

logger = logging.getLogger(__name__)

_PROCESS = "clip_assets/process"


def process_tag() -> dict[str, str]:
    """Tag that says which process a run is executed in."""
    return {_PROCESS: f"{socket.gethostname()}/{_identity(os.getpid())}"}


def bury(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of dead processes of this machine as failed and free their pool slots.

    Returns:
        Ids of the runs.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    dead = [run for run in instance.get_runs(started) if is_orphan(run)]
    for run in dead:
        logger.info("run %s was killed; its pool slots are freed", run.run_id)
        instance.report_run_failed(run, "The process that executed it is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def is_orphan(run: dg.DagsterRun) -> bool:
    """Whether the run was executed in a process of this machine that is gone."""
    host, _, process = run.tags.get(_PROCESS, "").partition("/")
    return host == socket.gethostname() and process != _identity(int(process.partition("@")[0]))


def _identity(pid: int) -> str:
    """A process number with the time it started: numbers are given again."""
    try:
        started = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "gone"
    return f"{pid}@{started}"
