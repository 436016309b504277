"""Room in memory for the bodies of answers, which nobody knows before they have come.

Every body grows in a common share while that has room. One that finds it full takes room for all
that it can become out of a reserve, waits for that if it must, and gives back what it had. Who has
room in the reserve needs no more of anything, so that never all wait for each other.
"""

import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Held:
    """What one body occupies, in bytes."""

    common: int = 0
    reserved: int = 0


class BodyRoom:
    """Room for bodies; for the tasks of one event loop.

    Args:
        common: bytes that bodies share as they grow.
        reserve: bytes for those that find it full; at least what one body can become.
    """

    def __init__(self, common: int, reserve: int) -> None:
        self._common = common
        self._reserve = reserve
        # First come, first served, so that large ones get their turn.
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def grows(self, held: Held, size: int) -> bool:
        """Whether a body may be ``size`` bytes large without waiting; then it has the room."""
        if size <= held.reserved:
            return True
        if held.reserved or size - held.common > self._common:
            return False
        self._common -= size - held.common
        held.common = size
        return True

    async def reserve(self, held: Held, size: int) -> None:
        """Wait for room in the reserve.

        Args:
            held: of a body that has none there.
            size: all that it can become, in bytes.
        """
        if self._waiting or size > self._reserve:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._reserve += size
                else:
                    self._waiting.remove((size, turn))
                self._admit()
                raise
        else:
            self._reserve -= size
        self._common += held.common
        held.common, held.reserved = 0, size

    def keep(self, held: Held, size: int) -> None:
        """Give back what a body that has come whole did not need."""
        if held.reserved > size:
            self._reserve += held.reserved - size
            held.reserved = size
            self._admit()

    def release(self, held: Held) -> None:
        """Give back all that a body had."""
        self._common += held.common
        self._reserve += held.reserved
        held.common = held.reserved = 0
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._reserve:
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._reserve -= size
                turn.set_result(None)
