"""Room in memory for the images that are decoded at a time."""

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager


class DecodingRoom:
    """Room for images; threads wait for it in order of arrival, so that large ones get theirs.

    Args:
        size: of the room, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._left = size
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def taken(self, size: int) -> Generator[None]:
        """``size`` bytes of the room for the time of the block; no more than the room has."""
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and size <= self._left)
            self._waiting.popleft()
            self._left -= size
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()
