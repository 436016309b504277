"""Ends connections whose request does not come: each byte late for ever, or none at all.

A request that is slow waits in no queue, so it stops nobody; but a connection is a file of the
process, and those are numbered. How large a request may be is said by ``service.guard``.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE_S = 60.0
"""For a request's head, and for a new connection to begin one."""

SLOWEST_BYTES_S = 8 * 1024
"""What has come of a body earns its sender more time: a second for so many bytes."""

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\n"
    b"The request was slow."
)


class TimedProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, to clients that send their requests in time."""

    patience_s = PATIENCE_S

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
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
