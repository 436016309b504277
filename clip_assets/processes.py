"""How processes of ours end: soon after a signal asks them to, and with the one that started them.

A kill at any moment costs the chunk that is in work and nothing else (docs/crashes.md), so an
orderly end is worth seconds and no more: what still runs then is ended.
"""

import functools
import gc
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

GRACE_S = 5.0
"""What a process may still do after it was asked to end, such as giving back leases."""

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class _Watch:
    """A thread that sees the signals of this process, whatever the main thread is in.

    Args:
        farewell: called before the process is ended.
        numbers: of the signals that count.
        impatient: whether a second Ctrl-C ends it at once.
    """

    def __init__(
        self, farewell: Callable[[], object], numbers: set[signal.Signals], *, impatient: bool
    ) -> None:
        self.came = threading.Event()
        self.first = signal.SIGINT
        self._farewell = farewell
        self._counting = numbers
        self._impatient = impatient
        self._deadline_s = float("inf")
        # The kernel's handler writes each signal's number here, also while C code runs and
        # whoever the handler in Python belongs to: Dagster replaces those of a command.
        self._numbers, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="clip-assets-end", daemon=True).start()

    def _run(self) -> None:
        while True:
            left_s = self._deadline_s - time.monotonic() if self.came.is_set() else None
            if left_s is not None and left_s <= 0:
                self._end()
            if select.select([self._numbers], [], [], left_s)[0]:
                for number in os.read(self._numbers, 512):
                    self._take(number)

    def _take(self, number: int) -> None:
        if number not in self._counting:
            return
        if self.came.is_set():
            if self._impatient and number == signal.SIGINT:
                self._end()
            return
        self.first = signal.Signals(number)
        self._deadline_s = time.monotonic() + GRACE_S
        self.came.set()

    def _end(self) -> None:
        with suppress(Exception):  # a terminal that is gone cannot be told
            self._farewell()
        _end(128 + self.first)


_watches: list[_Watch] = []
# Of this process: none or one.


def take_signals(farewell: Callable[[], object]) -> None:
    """Make of SIGTERM and SIGHUP what Ctrl-C is, and of each an end within ``GRACE_S``.

    For commands; a second call changes nothing, nor does one outside the main thread, where
    signals are somebody else's. SIGHUP stays ignored where
    it is, as under nohup, and so does SIGINT, as in the background of a script.

    Args:
        farewell: called before a process is ended that did not end by itself.
    """
    if _watches or threading.current_thread() is not threading.main_thread():
        return
    ignored = {number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN}

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        if number not in ignored:
            raise KeyboardInterrupt

    def hang_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        # Dagster takes over SIGTERM and not SIGHUP.
        signal.raise_signal(signal.SIGTERM)

    # One handler for both: Dagster gives SIGTERM that of SIGINT when it is through with a run.
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    if signal.SIGHUP not in ignored:
        signal.signal(signal.SIGHUP, hang_up)
    _watches.append(_Watch(farewell, _SIGNALS - ignored, impatient=True))


@functools.cache
def end_soon() -> None:
    """Do not look for garbage in what is loaded so far when this process ends.

    That takes longer than a small command does. DuckDB counts on it and complains of what it
    finds left, so nothing is done in a program that has loaded it before.
    """
    if "duckdb" not in sys.modules:
        gc.freeze()


def asked_to_end() -> bool:
    """Whether a signal asked this process to end."""
    return any(watch.came.is_set() for watch in _watches)


def exit_code() -> int:
    """What a process ends with that was interrupted, as shells count: 128 and the signal."""
    for watch in _watches:
        # The main thread may see a signal before the thread that watches does, and seconds before
        # where another thread holds Python's lock.
        watch.came.wait(GRACE_S)
    return 128 + next((watch.first for watch in _watches), signal.SIGINT)


@functools.cache
def follow_parent() -> None:
    """In a process that another one started for its work: do not outlive it, or its order to end.

    For workers of ``multiprocessing`` and of executors built on it; elsewhere, and when called
    again, it does nothing. Nobody reads what an orphan makes, and it holds locks, devices and
    memory that the next run wants.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if threading.current_thread() is threading.main_thread():
        _watches.append(_Watch(lambda: None, _SIGNALS, impatient=False))

    def follow() -> None:
        parent.join()
        _end(128 + signal.SIGHUP)

    threading.Thread(target=follow, name="clip-assets-parent", daemon=True).start()


def _end(code: int) -> None:
    """End this process and those that it started, now."""
    import psutil  # which few commands need

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(code)
