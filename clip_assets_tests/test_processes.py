"""What signals and the death of a parent do to real processes, and that none is left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from clip_assets import processes

BUSY = """
import signal, subprocess, sys, time
from clip_assets import processes
processes.GRACE_S = 0.2
# As in a terminal, also where the tests run in the background of a script.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
processes.take_signals(lambda: print("farewell", flush=True))
child = subprocess.Popen(["sleep", "1000"])
"""

STUCK = (
    BUSY
    + """
told = False
while True:
    try:
        if not told:
            told = True
            print(child.pid, flush=True)
        time.sleep(1000)
    except BaseException:
        print("interrupted", flush=True)
"""
)

ORDERLY = (
    BUSY
    + """
try:
    print(child.pid, flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    child.kill()
    sys.exit(processes.exit_code())
"""
)

PARENT = """
import multiprocessing, time
from clip_assets_tests.test_processes import work
if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    time.sleep(1000)
"""


def work() -> None:
    """A worker that starts a process of its own and never ends by itself."""
    processes.follow_parent()
    child = subprocess.Popen(["sleep", "1000"])
    sys.stdout.write(f"{os.getpid()} {child.pid}\n")
    sys.stdout.flush()
    multiprocessing.Event().wait()


@contextmanager
def started(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_the_end_of(pid: int) -> None:
    """That it never comes, the time-out of the test tells."""
    while not has_ended(pid):
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_does_not_end_is_ended_and_its_children_too(number: signal.Signals) -> None:
    with started(STUCK) as process:
        child = int(line(process))
        process.send_signal(number)
        assert process.wait() == 128 + number
        assert [line(process), line(process)] == ["interrupted", "farewell"]
        wait_for_the_end_of(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_every_signal_is_what_ctrl_c_is(number: signal.Signals) -> None:
    with started(ORDERLY) as process:
        line(process)
        process.send_signal(number)
        assert process.wait() == 128 + number
        assert line(process) == ""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_a_signal_that_is_ignored_stays_so(name: str) -> None:
    with started(STUCK, name) as process:
        line(process)
        process.send_signal(getattr(signal, name))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_a_worker_ends_with_a_parent_that_was_killed() -> None:
    with started(PARENT) as parent:
        worker, child = map(int, line(parent).split())
        parent.kill()
        wait_for_the_end_of(worker)
        wait_for_the_end_of(child)
