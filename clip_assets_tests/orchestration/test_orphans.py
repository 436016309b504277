"""Runs whose process is gone."""

import os
import socket
import subprocess
import sys

import dagster as dg
import pytest

from clip_assets.orchestration import orphans

TAG = "clip_assets/process"
HERE = socket.gethostname()


def is_orphan(process: str) -> bool:
    return orphans.is_orphan(dg.DagsterRun(job_name="x", tags={TAG: process}))


@pytest.fixture(scope="module")
def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


TAGGED = """
from clip_assets.orchestration import orphans
print(orphans.process_tag()["clip_assets/process"], flush=True)
input()
"""


def test_a_run_is_an_orphan_when_its_process_has_ended() -> None:
    command = [sys.executable, "-c", TAGGED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        tag = process.stdout.readline().strip()
        assert not is_orphan(tag)
        process.kill()
        process.wait()
        assert is_orphan(tag)


def test_a_process_that_started_later_is_another_one() -> None:
    tag = orphans.process_tag()[TAG]
    started_s = float(tag.partition("@")[2])
    assert not is_orphan(tag)
    assert not is_orphan(f"{HERE}/{os.getpid()}@{started_s - 5:.2f}")  # somebody set the clock
    assert is_orphan(f"{HERE}/{os.getpid()}@{started_s - 3600:.2f}")


def test_runs_of_other_machines_and_of_launchers_are_no_orphans(ended: int) -> None:
    assert not is_orphan(f"not-{HERE}/{ended}@1700000000.00")
    assert not orphans.is_orphan(dg.DagsterRun(job_name="x"))


def test_tags_of_earlier_versions_are_understood(ended: int) -> None:
    assert not is_orphan(f"{HERE}/{os.getpid()}@123456")
    assert is_orphan(f"{HERE}/{ended}@123456")


@pytest.mark.parametrize("process", ["gone", "", "@", "1@", "x@1.0"])
def test_a_tag_that_tells_nothing_buries_nothing(process: str) -> None:
    assert not is_orphan(f"{HERE}/{process}")
