"""The access log: a line of JSON for each answer, without anything that a query holds.

What is written is said by ``limits.guard``. Lines of a moment go to the log together: on a busy
service a call of the log for each of them would cost more than many an answer.
"""

import asyncio
import logging
import sys
import time
from typing import Any

import orjson

access = logging.getLogger("clip_assets.access")

TOGETHER_S = 0.1
"""Lines of so many seconds are written at once."""


class AccessLog:
    """Lines that were not written yet; of one event loop."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def add(self, told: dict[str, Any]) -> None:
        """Write a line, in a moment."""
        if access.disabled:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(TOGETHER_S, self.flush)
        self._lines.append(orjson.dumps({"time": round(time.time(), 3)} | told))

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines:
            access.info("%s", b"\n".join(lines).decode())


def begin() -> None:
    """Write lines to stderr as they are, without what the other lines of the log have before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.handlers = [handler]
    access.propagate = False
