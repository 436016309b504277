"""How bricks are put in a row, and how much may be under way between them.

A brick is a function from an iterable of data to an iterator of data. One that works in threads
takes at most so many data from the one before it as it says; so whoever takes data sets the
pace of all, down to the sockets. What a brick does is said by the others.
"""

import functools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import ParamSpec, Self

from clip_assets.bricks.datum import Datum
from clip_assets.errors import ClipAssetsError, ImageError, at_least
from clip_assets.inference.threads import mapped

P = ParamSpec("P")

Transform = Callable[[Iterable[Datum]], Iterable[Datum]]
"""What may stand behind ``|``: a brick, or any function that is called like one."""

REFUSED = (ImageError, ValueError)
"""What a function of a single datum raises where that one alone is at fault."""


class Flow:
    """Data, and the bricks that they go through: iterated, it works.

    Args:
        data: any iterable.
    """

    def __init__(self, data: Iterable[Datum]) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Datum]:
        """The data, one after the other; what is not taken is not made."""
        return iter(self._data)

    def __or__(self, brick: Transform) -> "Flow":
        """What the next brick makes of them."""
        return Flow(_Passed(self._data, brick))


def reader(function: Callable[P, Iterator[Datum]]) -> Callable[P, Flow]:
    """A generator function as one that gives a flow, which reads anew whenever it is iterated."""

    @functools.wraps(function)
    def opened(*args: P.args, **kwargs: P.kwargs) -> Flow:
        return Flow(_Read(functools.partial(function, *args, **kwargs)))

    return opened


class Brick(ABC):
    """What is the same for all bricks: ``iterable | brick`` and ``brick | brick``."""

    @abstractmethod
    def __call__(self, data: Iterable[Datum]) -> Iterator[Datum]:
        """What it makes of data."""

    def __ror__(self, data: Iterable[Datum]) -> Flow:
        """The flow of any iterable through this brick."""
        return Flow(data) | self

    def __or__(self, brick: Transform) -> "Brick":
        """Two bricks as one."""
        return _Row(self, brick)


class Each(Brick):
    """A function of one datum, called by threads; the order stays.

    Data with a fault are passed on without a call. A datum for which it raises an ``ImageError`` or
    a ``ValueError`` gets that as its fault; any other error ends the flow.

    Args:
        function: gives the datum that takes the place of the one that it is given.
        threads: how many; 0 for the caller's own.
        ahead: data that are in work or done and not yet taken, by default two for each thread.
    """

    def __init__(
        self, function: Callable[[Datum], Datum], threads: int = 0, ahead: int | None = None
    ) -> None:
        at_least("threads", threads, 0)
        self._function = function
        self._threads = threads
        self._ahead = ahead or 2 * threads

    def __call__(self, data: Iterable[Datum]) -> Iterator[Datum]:
        """See ``Brick``."""
        if not self._threads:
            return map(self._one, data)
        return mapped(self._one, data, self._threads, self._ahead)

    def _one(self, datum: Datum) -> Datum:
        if datum.fault:
            return datum
        try:
            return self._function(datum)
        except REFUSED as error:
            told = error.found if isinstance(error, ClipAssetsError) else str(error)
            return datum.failed(told or type(error).__name__)


@dataclass
class Outcomes:
    """What became of the data of a flow.

    Args:
        data: how many came out at its end.
        faults: those of them that have one, by fault.
    """

    data: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])

    def add(self, datum: Datum) -> Self:
        """Count one."""
        self.data += 1
        self.faults.update([datum.fault] if datum.fault else [])
        return self


def run(flow: Iterable[Datum]) -> Outcomes:
    """Let all data go through a flow."""
    outcomes = Outcomes()
    for datum in flow:
        outcomes.add(datum)
    return outcomes


class _Read:
    """What a function gives, called whenever it is iterated."""

    def __init__(self, function: Callable[[], Iterator[Datum]]) -> None:
        self._function = function

    def __iter__(self) -> Iterator[Datum]:
        return self._function()


class _Passed:
    """Data through a brick; begun anew whenever it is iterated."""

    def __init__(self, data: Iterable[Datum], brick: Transform) -> None:
        self._data, self._brick = data, brick

    def __iter__(self) -> Generator[Datum]:
        source = iter(self._data)
        try:
            # Threads of a flow that is left early end with it, the last brick first.
            made = iter(self._brick(source))
            if isinstance(made, Generator):
                with closing(made):
                    yield from made
            else:
                yield from made
        finally:
            if isinstance(source, Generator):
                source.close()


class _Row(Brick):
    """Two bricks, one after the other."""

    def __init__(self, first: Transform, second: Transform) -> None:
        self._first, self._second = first, second

    def __call__(self, data: Iterable[Datum]) -> Iterator[Datum]:
        return iter(Flow(data) | self._first | self._second)
