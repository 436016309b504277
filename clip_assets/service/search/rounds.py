"""Queries that come while others are computed are the next round: computed together.

A round is computed by one thread from its texts and images to what comes of their vectors, so a
query changes threads twice. Under load none waits for others longer than one round takes. How
vectors are made is the matter of ``encoding``, what is done with them of who asks.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from clip_assets.encoders.encoder import Encoder, Vectors
from clip_assets.retrieval.queries import Vector

WINDOW_S = 0.001
"""For which a round waits for more, when the one before it had more than one query."""

MOST = 32
"""Queries of a round of which the first needs no model."""

Next = Callable[[Sequence[tuple[Any, Vector | Vectors]]], Sequence[Any]]
"""What is done with the vectors of a round that are meant for it, each with what its query handed
in: the result of each, or its fault."""


@dataclass(frozen=True, slots=True)
class WaitingQuery:
    """A query that waits.

    Args:
        encoder: of a text or an image.
        kind: ``text``, ``image`` or ``vector``.
        content: a text, pixels or a vector.
        key: by which its vector is remembered; None: it need not be.
        following: what is done with the vector; None: it is the result.
        own: handed to that.
        result: told to who waits.
    """

    encoder: Encoder | None
    kind: str
    content: Any
    key: tuple[str, str, bytes] | None
    following: Next | None
    own: Any
    result: "asyncio.Future[Any]"


Vectorise = Callable[[Sequence[WaitingQuery]], Mapping[int, Any]]
"""The vector of each query of a round that somebody still waits for, or its fault, by place."""


class Rounds:
    """Threads that compute round after round.

    Args:
        vectors: makes the vectors of a round; by one thread at a time.
        threads: that compute.
        begin: called in each of them before its first work.
    """

    def __init__(
        self, vectors: Vectorise, threads: int, begin: Callable[[], object] | None
    ) -> None:
        self._vectors, self._begin = vectors, begin
        self._waiting: queue.SimpleQueue[WaitingQuery | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._last_size = 0
        for _ in range(threads):
            threading.Thread(target=self._run, name="clip-assets-rounds", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Queries that wait for a round."""
        return self._waiting.qsize()

    def add(self, wanted: WaitingQuery) -> None:
        """Have a query in one of the next rounds."""
        self._waiting.put(wanted)

    def close(self) -> None:
        """End the threads after what waits."""
        self._waiting.put(None)

    def _run(self) -> None:
        if self._begin is not None:
            self._begin()
        while True:
            # Who encodes takes all that waits: two small rounds side by side cost more than one.
            with self._turn:
                first = self._waiting.get()
                if first is None:
                    self._waiting.put(None)
                    return
                of_round = self._round(first)
                vectors = self._vectors(of_round)
            _tell(of_round, _followed(of_round, vectors))

    def _round(self, first: WaitingQuery) -> list[WaitingQuery]:
        """What waits, and what comes within a window."""
        window_s = WINDOW_S if self._last_size > 1 else 0
        most = MOST if first.encoder is None else first.encoder.batch_size
        of_round = [first]
        end_s = time.monotonic() + window_s
        while len(of_round) < most:
            try:
                left_s = end_s - time.monotonic()
                following = (
                    self._waiting.get(timeout=left_s) if left_s > 0 else self._waiting.get_nowait()
                )
            except queue.Empty:
                break
            if following is None:
                self._waiting.put(None)
                break
            of_round.append(following)
        self._last_size = len(of_round)
        return of_round


def _followed(of_round: Sequence[WaitingQuery], vectors: Mapping[int, Any]) -> dict[int, Any]:
    """What comes of the vectors of a round, by place."""
    groups: dict[Next, list[int]] = {}
    for place, vector in vectors.items():
        following = of_round[place].following
        if following is not None and not isinstance(vector, Exception):
            groups.setdefault(following, []).append(place)
    results = dict(vectors)
    for following, places in groups.items():
        try:
            given = following([(of_round[place].own, vectors[place]) for place in places])
            results.update(zip(places, given, strict=True))
        except Exception as error:
            results.update(dict.fromkeys(places, error))
    return results


def _tell(of_round: Sequence[WaitingQuery], results: Mapping[int, Any]) -> None:
    """Tell who waits, by one call of each event loop, whose waking costs more than a result."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for place, what in results.items():
        future = of_round[place].result
        loops.setdefault(future.get_loop(), []).append((future, what))
    for loop, own in loops.items():
        with suppress(RuntimeError):  # it was closed meanwhile
            loop.call_soon_threadsafe(_hand_out, own)


def _hand_out(results: "Sequence[tuple[asyncio.Future[Any], Any]]") -> None:
    """Hand out results, or faults, to who still waits."""
    for future, what in results:
        if future.done():
            continue
        if isinstance(what, Exception):
            future.set_exception(what)
        else:
            future.set_result(what)
