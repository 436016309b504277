"""Work that waits its turn, up to a bound: beyond it a client is asked to come again later.

A service that took all work would answer everybody too late.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clip_assets.service.limits import refusals

T = TypeVar("T")


class Turns:
    """Threads that work, and a bounded number of callers who wait for one.

    Args:
        threads: that work at once.
        waiting: callers who may wait beside them.
        name: of the threads.
        begin: called in each of them before its first work.
    """

    def __init__(
        self,
        threads: int,
        waiting: int,
        name: str,
        begin: Callable[[], object] | None = None,
    ) -> None:
        self._most = threads + waiting
        self._executor = ThreadPoolExecutor(threads, name, begin)
        self._lock = threading.Lock()
        self.taken = 0

    async def do(self, work: Callable[[], T]) -> T:
        """Do some work in a thread.

        Raises:
            RefusalError: too many wait already.
        """
        with self._lock:
            if self.taken >= self._most:
                raise refusals.later("the service", f"{self.taken} requests at once", "fewer")
            self.taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            with self._lock:
                self.taken -= 1

    def close(self) -> None:
        """End the threads when what they do is done; what waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
