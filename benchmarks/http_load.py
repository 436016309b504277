"""Clients that ask a web server over and over, and the times of its answers.

One thread of one process for all clients, and nothing of an answer is read but its status and its
length: what a client costs is taken from the server's cores. A server that closes a connection
after an answer, as clip-retrieval's does, is connected to anew, and that is part of the time.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Heard:
    """Answers of one stretch of time.

    Args:
        statuses: how many of each; ``lost`` for connections that ended without an answer.
        times_s: of each answer.
        bodies: of the first few, to look at.
        seconds: that the stretch took.
    """

    statuses: Counter[Any] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Answers a second, and milliseconds of the median and the slowest."""
        spent = 1000 * np.array(self.times_s or [np.nan])
        p50, p95, p99 = np.percentile(spent, [50, 95, 99])
        failed = sum(n for status, n in self.statuses.items() if status != 200)
        return {
            "qps": round(self.statuses[200] / max(self.seconds, 1e-9), 1),
            "p50_ms": round(p50, 2),
            "p95_ms": round(p95, 2),
            "p99_ms": round(p99, 2),
            "failed": failed,
        }


class _Client:
    """One connection, one request at a time."""

    def __init__(self, host: str, port: int, heard: Heard) -> None:
        self._host, self._port, self._heard = host, port, heard
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes, since_s: float) -> None:
        """Send a request and wait for the whole answer; time counts from ``since_s``."""
        try:
            status, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            self._heard.statuses[f"lost: {type(error).__name__}"] += 1
            return
        self._heard.statuses[status] += 1
        self._heard.times_s.append(time.perf_counter() - since_s)
        if len(self._heard.bodies) < 3:
            self._heard.bodies.append(body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        is_used = self._writer is not None
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._reader is not None
        try:
            self._writer.write(request)
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            # A server may close a connection between two requests at any time.
            if not is_used or getattr(error, "partial", b""):
                raise
            self.close()
            return await self._exchange(request)
        status = int(head[9:12])
        _, found, rest = head.partition(b"content-length:")
        body = (
            await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))
            if found
            else await self._reader.read()
        )
        if not found or b"connection: close" in head or head.startswith(b"http/1.0"):
            self.close()
        return status, body


def request(url: str, path: str, body: Any, content_type: str = "application/json") -> bytes:
    """The bytes of a POST; a body that is no bytes is written as json."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    host = urlsplit(url).netloc
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def steadily(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> Heard:
    """Each client asks again as soon as it was answered."""

    async def run(heard: Heard, target: tuple[str, int], turn: Iterator[bytes]) -> None:
        ends_s = time.perf_counter() + seconds

        async def client() -> None:
            own = _Client(*target, heard)
            while (now_s := time.perf_counter()) < ends_s:
                await own.ask(next(turn), now_s)
            own.close()

        await asyncio.gather(*(client() for _ in range(clients)))

    return _heard(url, requests, run)


def at_rate(
    url: str, requests: Sequence[bytes], per_second: float, seconds: float, clients: int = 256
) -> Heard:
    """Requests begin at random times, whether earlier ones were answered or not.

    An answer's time counts from when its request was due, also where all clients were waiting.
    """

    async def run(heard: Heard, target: tuple[str, int], turn: Iterator[bytes]) -> None:
        chance = random.Random(0)
        due: asyncio.Queue[float | None] = asyncio.Queue()

        async def client() -> None:
            own = _Client(*target, heard)
            while (since_s := await due.get()) is not None:
                await own.ask(next(turn), since_s)
            own.close()

        running = [asyncio.create_task(client()) for _ in range(clients)]
        next_s = time.perf_counter()
        ends_s = next_s + seconds
        while (next_s := next_s + chance.expovariate(per_second)) < ends_s:
            await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
            due.put_nowait(next_s)
        for _ in running:
            due.put_nowait(None)
        await asyncio.gather(*running)

    return _heard(url, requests, run)


def _heard(url: str, requests: Sequence[bytes], run: Any) -> Heard:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    heard = Heard()
    began_s = time.perf_counter()
    asyncio.run(run(heard, (place.hostname, place.port), itertools.cycle(requests)))
    heard.seconds = time.perf_counter() - began_s
    return heard
