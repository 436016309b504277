"""Runs of command lines that were killed.

Dagster's daemon watches only runs that it launched. A run executed in a command's own
process and killed with it would stay "started" for ever and keep its slots of the
concurrency pools, so the next command buries it.
"""

import logging
import multiprocessing
import re
import socket

import dagster as dg
import psutil

from clip_assets.orchestration.executors import is_local

logger = logging.getLogger(__name__)

_PROCESS = "clip_assets/process"

_LAUNCHED = ".dagster/grpc_info"
# Tag by which a launcher of Dagster finds the runs that it started.

_TAG = re.compile(r"(\d+)@(?:(\d+[.]\d+)|\d+)")
# A process number and when it started, in seconds since 1970. A whole number was written by
# earlier versions and counts from the start of the machine, which tells nothing after another one.

_CLOCK_SET_S = 60.0
"""Setting the clock moves the start of a process, as its machine tells it, by less than this."""


def process_tag(process: psutil.Process | None = None) -> dict[str, str]:
    """Tag that says which process a run is executed in, by default this one."""
    process = process or psutil.Process()
    return {_PROCESS: f"{socket.gethostname()}/{process.pid}@{process.create_time():.2f}"}


def claim(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run that no command of ours and no launcher started: of ``dagster asset materialize``.

    Called by its steps, which know the process that executes the run: their parent, or their own.
    Steps of other executors than the local ones know none.
    """
    if is_local() and not {_PROCESS, _LAUNCHED} & run.tags.keys():
        parent = multiprocessing.parent_process()
        process = psutil.Process(parent.pid if parent else None)
        instance.add_run_tags(run.run_id, process_tag(process))


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
    return host == socket.gethostname() and _is_gone(process)


def _is_gone(process: str) -> bool:
    """Whether a process ended; False if that cannot be told."""
    tag = _TAG.fullmatch(process)
    if not tag:
        return False
    try:
        started_s = psutil.Process(int(tag[1])).create_time()
    except psutil.NoSuchProcess:
        return True
    # Numbers are given again: a process that started later is another one.
    return tag[2] is not None and started_s - float(tag[2]) > _CLOCK_SET_S
