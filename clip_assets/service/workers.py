"""Several processes that serve together: started, started again when one dies, and ended.

They listen at one address, each by a socket of its own, and map the same files. What each of them
does is handed in; what they tell of themselves together is the matter of
``measures.shared_measures``.
"""

import logging
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from clip_assets.errors import NotReadyError
from clip_assets.service.measures import shared_measures

logger = logging.getLogger(__name__)

Work = Callable[[socket.socket, Path], None]
"""Serves at a reserved address, and writes measures to a folder; it can be pickled."""

END_S = 4.0
"""For which processes that were asked to end are waited for."""

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
"""Before a process is started again: longer each time, if it lived for less than that."""

_LOOK_S = 0.1


class Workers:
    """Processes at one address.

    Args:
        work: what each does.
        number: of them.
        reserved: the address.
        folder: that they share.
    """

    def __init__(self, work: Work, number: int, reserved: socket.socket, folder: Path) -> None:
        self._work, self._reserved, self._folder = work, reserved, folder
        self._context = multiprocessing.get_context("spawn")
        self._began_s: dict[SpawnProcess, float] = {}
        self._due_s: list[float] = []
        self._pause_s = FIRST_PAUSE_S
        for _ in range(number):
            self._start()

    def wait_until_ready(self) -> None:
        """Wait until each of them serves.

        Raises:
            NotReadyError: one ended before.
        """
        while not all(shared_measures.ready(self._folder, one.pid or 0) for one in self._began_s):
            for one in self._began_s:
                if one.exitcode is not None:
                    raise NotReadyError(
                        "a process of the service",
                        f"ended with {one.exitcode} before it served",
                        "one that serves",
                        "Its error is above.",
                    )
            time.sleep(_LOOK_S)

    def keep(self) -> None:
        """Start again what dies, until this process is interrupted."""
        while True:
            connection.wait([one.sentinel for one in self._began_s], 2 * _LOOK_S)
            now_s = time.monotonic()
            for one in [one for one in self._began_s if one.exitcode is not None]:
                lived_s = now_s - self._began_s.pop(one)
                is_new = lived_s < LAST_PAUSE_S
                self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S) if is_new else FIRST_PAUSE_S
                logger.warning(
                    "process %s ended with %s; another one follows in %.1f s",
                    one.pid,
                    one.exitcode,
                    self._pause_s,
                )
                self._due_s.append(now_s + self._pause_s)
            for due_s in [due_s for due_s in self._due_s if due_s <= now_s]:
                self._due_s.remove(due_s)
                self._start()

    def close(self) -> None:
        """Ask all to end, wait a little, and end those that do not."""
        for one in self._began_s:
            one.terminate()
        ends_s = time.monotonic() + END_S
        for one in self._began_s:
            one.join(max(0.0, ends_s - time.monotonic()))
            one.kill()
            one.join()

    def _start(self) -> None:
        process = self._context.Process(
            target=self._work, args=(self._reserved, self._folder), name="clip-assets-serve"
        )
        process.start()
        self._began_s[process] = time.monotonic()


def run(work: Work, number: int, reserved: socket.socket, began: Callable[[], object]) -> None:
    """Serve with several processes until this one is interrupted.

    Args:
        work: see ``Work``.
        number: of processes.
        reserved: the address, see ``serving.reserve``; it is closed at the end.
        began: called when all of them serve.

    Raises:
        NotReadyError: one ended before it served.
    """
    with reserved, tempfile.TemporaryDirectory(prefix="clip-assets-serve-") as folder:
        workers = Workers(work, number, reserved, Path(folder))
        try:
            workers.wait_until_ready()
            began()
            workers.keep()
        finally:
            workers.close()
