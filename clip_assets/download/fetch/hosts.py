"""Urls waiting for their turn, one line per host, so that no host is asked too much at once.

A fixed number of hosts is served in rotation, each by as few connections as keep all workers
busy; a host is served to its end before a waiting one takes its place, so its connections are
used again. What is done with a turn belongs to ``fetcher``.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Host(Generic[T]):
    waiting: deque[T] = field(default_factory=deque[T])
    active: int = 0
    is_listed: bool = False  # has a place in the rotation or on the bench
    resume: asyncio.TimerHandle | None = None  # ends a pause


class HostQueue(Generic[T]):
    """A queue that hands out items host by host in rotation.

    Args:
        rotation: hosts served at once.
        per_host: items of one host handed out and not yet ``done``.
    """

    def __init__(self, rotation: int, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, _Host[T]] = {}
        self._bench: deque[str] = deque()
        self._free_places = rotation
        # Each entry is a right to take one item of that host.
        self._turns: asyncio.Queue[str] = asyncio.Queue()

    def put(self, name: str, item: T) -> None:
        """Add an item at the end of its host's line."""
        self._hosts.setdefault(name, _Host()).waiting.append(item)
        self._list(name)

    def put_later(self, name: str, item: T, delay_s: float) -> None:
        """Add an item after a while; no worker waits for it."""
        asyncio.get_running_loop().call_later(delay_s, self.put, name, item)

    async def get(self) -> tuple[str, T]:
        """The next host in rotation and its first item; ``done`` must follow."""
        while True:
            name = await self._turns.get()
            host = self._hosts[name]
            if host.resume is None:
                item = host.waiting.popleft()
                host.active += 1
                self._give_turn_or_place(name, host)
                return name, item
            self._give_turn_or_place(name, host)

    def done(self, name: str) -> None:
        """The item that was handed out no longer occupies its host."""
        self._hosts[name].active -= 1
        self._list_or_forget(name)

    def is_last(self, name: str) -> bool:
        """Whether nothing waits for this host, so that its connection need not be kept."""
        return not self._hosts[name].waiting

    def pause(self, name: str, seconds: float) -> None:
        """Hand out nothing of a host for a while; for use between ``get`` and ``done``."""
        host, loop = self._hosts[name], asyncio.get_running_loop()
        if host.resume is not None:
            if host.resume.when() >= loop.time() + seconds:
                return
            host.resume.cancel()
        host.resume = loop.call_later(seconds, self._resume, name)

    def _resume(self, name: str) -> None:
        self._hosts[name].resume = None
        self._list_or_forget(name)

    def _list_or_forget(self, name: str) -> None:
        host = self._hosts[name]
        if host.waiting:
            self._list(name)
        elif not host.active and host.resume is None:
            del self._hosts[name]

    def _list(self, name: str) -> None:
        """Bring a host with waiting items into the rotation, or on the bench if it is full."""
        host = self._hosts[name]
        if host.is_listed or host.active >= self._per_host or host.resume is not None:
            return
        host.is_listed = True
        if self._free_places:
            self._free_places -= 1
            self._turns.put_nowait(name)
        else:
            self._bench.append(name)

    def _give_turn_or_place(self, name: str, host: _Host[T]) -> None:
        """Another turn for the host that just had one, or its place to the next host."""
        if host.waiting and host.active < self._per_host and host.resume is None:
            self._turns.put_nowait(name)
            return
        host.is_listed = False
        if self._bench:
            self._turns.put_nowait(self._bench.popleft())
        else:
            self._free_places += 1
