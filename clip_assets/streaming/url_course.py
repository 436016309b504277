"""How far a list of urls is: which are under way, which are there, and what comes next.

Who asks for them is the matter of ``url_window``; nothing here waits or knows a thread.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from clip_assets.bricks.datum import Datum
from clip_assets.streaming.decoded import Item
from clip_assets.streaming.listed_urls import UrlList
from clip_assets.streaming.permutation import Rows

Stage = Literal["asked", "here"]
"""Of a url that is not decoded yet: whether its file has come."""


Cursor = list[int]
"""The place behind the last one that was taken, and those before it that are still to come."""


@dataclass(eq=False)
class Course:
    """The urls of one list that one taker is given, and how far it is.

    Args:
        urls: the list.
        rows: of it, in their order.
        ahead: how many are under way or wait to be taken; and again as many that were passed.
        repeats: whether it begins again when it ends; places count on.
        start: where to begin.
    """

    urls: UrlList
    rows: Rows
    ahead: int
    repeats: bool
    start: Cursor
    alive: "dict[int, Item | Stage]" = field(default_factory=dict[int, Any])
    passed: set[int] = field(default_factory=set[int])
    dead: set[int] = field(default_factory=set[int])
    taken: int = 0

    def __post_init__(self) -> None:
        """Begin with what was left."""
        self._behind, *left = self.start
        self._following, self._left = self._behind, deque(left)

    @property
    def cursor(self) -> Cursor:
        """How far it is: where another course goes on."""
        left = [*self.alive, *self._left]
        return [self._behind, *sorted(place for place in left if place < self._behind)]

    def wants(self) -> bool:
        """Whether more may be asked for."""
        return len(self.alive) - len(self.passed) < self.ahead

    def ask(self) -> int | None:
        """The next place to be asked for; None at the end, or if all were in vain."""
        if self._left:
            return self._left.popleft()
        while len(self.dead) < len(self.rows):
            place = self._following
            if place >= len(self.rows) and not self.repeats:
                return None
            self._following += 1
            if place % len(self.rows) not in self.dead:
                return place
        return None

    def datum(self, place: int) -> Datum:
        """What stands at a place."""
        return self.urls.datum(int(self.rows[place % len(self.rows)]))

    def take(self) -> Item | None:
        """The first that is there, unless one before it is worth waiting for."""
        for place, item in self.alive.items():
            if isinstance(item, Item):
                self.forget(place)
                self._behind = max(self._behind, place + 1)
                self.taken += 1
                return item
            if place not in self.passed:
                return None
        return None

    def passes(self) -> bool:
        """Whether all others waited for the first one, which may come when it likes from now on."""
        ahead = [place for place in self.alive if place not in self.passed]
        there = sum(isinstance(self.alive[place], Item) for place in ahead)
        if len(self.passed) == self.ahead or not 0 < there == len(ahead) - 1:
            return False
        if self.alive[ahead[0]] != "asked":
            return False
        self.passed.add(ahead[0])
        return True

    def forget(self, place: int) -> None:
        """Let a place be under way no more."""
        del self.alive[place]
        self.passed.discard(place)
