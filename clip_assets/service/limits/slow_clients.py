"""Ends connections whose request does not come, whose answer is not taken, or that are too many.

Such a client stops nobody, as neither waits in a queue; but a connection is a file of the process,
and those are numbered, and an answer that waits is memory and keeps an index version open. How
large a request may be is said by ``guard``.
"""

import asyncio
import logging
import math
import resource
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""For a request's head, for a new connection to begin one, and for an answer of which the client
takes no byte."""

_LOOKS = 4
# At what is sent, in that time.

SLOWEST_BYTES_S = 8 * 1024
"""What has come of a body earns its sender more time: a second for so many bytes."""

SHARE_OF_FILES = 0.75
"""Of the files that the process may open: for connections. Without the rest none is answered."""

ENOUGH_FILES = 2**16

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 31\r\n\r\n"
    b"There are too many connections."
)

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\n"
    b"The request was slow."
)


def files() -> float:
    """How many this process may have open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if most == resource.RLIM_INFINITY else most


def allow_many_files() -> None:
    """Let this process open as many as its user may allow it, up to ``ENOUGH_FILES``."""
    most, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if allowed == resource.RLIM_INFINITY else min(allowed, ENOUGH_FILES)
    if most != resource.RLIM_INFINITY and most < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, allowed))


class CountedTransport:
    """A transport that counts what it is given; the rest is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._given_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """Send some bytes as soon as the client takes them."""
        self._given_bytes += len(content)
        self._transport.write(content)

    @property
    def sent_bytes(self) -> int:
        """Of those that were given: what the system has, which takes more as the client does."""
        return self._given_bytes - self._transport.get_write_buffer_size()

    @property
    def is_done(self) -> bool:
        """Whether all of it is sent."""
        return not self._transport.get_write_buffer_size()


class TimedProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, to clients that send their requests and take answers in time."""

    patience_s = PATIENCE_S

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        self._counted = CountedTransport(transport)
        super().connection_made(cast("asyncio.Transport", self._counted))
        self._timer: asyncio.TimerHandle | None = None
        self._wait()
        self._sent_bytes, self._sent_s = 0, self.loop.time()
        self._look_at_answers()
        if len(self.connections) > SHARE_OF_FILES * files():
            self.transport.write(_TOO_MANY)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        self._answers_timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._wait()

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._ends_s += len(body) / SLOWEST_BYTES_S
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        self._stop()
        super().on_message_complete()

    def _wait(self) -> None:
        self._stop()
        self._ends_s = self.loop.time() + self.patience_s
        self._timer = self.loop.call_at(self._ends_s, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End the connection, if what has come since earned it no more time."""
        now_s = self.loop.time()
        # What this side does not read, the client cannot send.
        if now_s < self._ends_s or self.flow.read_paused:
            self._timer = self.loop.call_at(max(self._ends_s, now_s + 1), self._look)
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def _look_at_answers(self) -> None:
        """End the connection if its client takes nothing: closing it would wait for that, too."""
        now_s, sent_bytes = self.loop.time(), self._counted.sent_bytes
        if self._counted.is_done or sent_bytes > self._sent_bytes:
            self._sent_bytes, self._sent_s = sent_bytes, now_s
        elif now_s >= self._sent_s + self.patience_s:
            logger.info("%s takes no more of its answer and is let go", self.client)
            self.transport.abort()
            return
        self._answers_timer = self.loop.call_later(self.patience_s / _LOOKS, self._look_at_answers)
