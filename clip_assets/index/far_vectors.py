"""Whole vectors that lie in a bucket or behind a web server, read by byte ranges.

For the second look at what codes of an index find. Where vectors lie is said by ``far_embeddings``
for a pool and by ``retrieval.published_places`` for a published data set; how many of a query are
read by ``far_look``.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clip_assets import schemas
from clip_assets.errors import SourceChangedError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarRange
from clip_assets.files.identity import File, looked_at

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Ids = npt.NDArray[np.int64]

KEPT_BYTES = 16 << 20
"""Of vectors that are kept; all are forgotten when there are more."""

LOOK_S = 10.0
"""A file that was looked at so long ago may be another one by now."""

AT_ONCE = 32
"""Files that are looked at side by side."""

LENGTH_WITHIN = 0.01
"""Vectors of the pool have length 1; what does not is none of them."""


class Lying(NamedTuple):
    """Where some vectors lie, (n,) each.

    Args:
        files: number of the file; -1 of a vector that is not there any more.
        starts: its first byte in the file.
    """

    files: Ids
    starts: Ids


class Whereabouts(Protocol):
    """Where the vectors of one side lie, as rows of float16 one after the other."""

    def find(self, ids: Ids) -> Lying:
        """Of some ids of the version."""
        ...

    def file(self, number: int) -> tuple[str, int]:
        """Url of a file, and how many bytes it should have."""
        ...

    def is_replaced(self, number: int) -> bool:
        """Whether other vectors were put there on purpose; then ``find`` finds none there."""
        ...


class VectorsElsewhere:
    """The vectors of one side by id. Threads may share them.

    Args:
        whereabouts: where they lie.
    """

    def __init__(self, whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
        self._known: dict[int, Halves] = {}
        self._files: dict[int, File] = {}
        self._due_s: dict[int, float] = {}
        self._lock = Lock()

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """Of queries, (q, dim), to vectors: (q, k); NaN where an id has none any more, or is -1.

        Raises:
            SourceChangedError: a file is another one by now, or was cut off.
            SourceError: one cannot be read.
        """
        distinct, places = np.unique(ids, return_inverse=True)
        rows = self.rows(distinct, queries.shape[1])
        places = places.reshape(ids.shape)
        # Query by query: in memory are the vectors, and those of one query once more.
        similar = [rows[own] @ query for own, query in zip(places, queries, strict=True)]
        return np.stack(similar) if similar else np.empty(ids.shape, np.float32)

    def rows(self, ids: Ids, dim: int) -> Floats:
        """(len(ids), dim) vectors of ids, each once, NaN where there is none; raises likewise."""
        with self._lock:
            known = {
                number: self._known[number] for number in ids.tolist() if number in self._known
            }
        wanted = np.array([n for n in ids.tolist() if n >= 0 and n not in known], np.int64)
        read = dict(self._read(wanted, dim))
        with self._lock:
            if (len(self._known) + len(read)) * dim * schemas.EMBEDDING.itemsize > KEPT_BYTES:
                self._known.clear()
            self._known |= read
        rows = np.full((len(ids), dim), np.nan, np.float32)
        for row, number in enumerate(ids.tolist()):
            vector = read.get(number, known.get(number))
            if vector is not None:
                rows[row] = vector
        return rows

    def _read(self, ids: Ids, dim: int) -> Iterator[tuple[int, Halves]]:
        """Those of some ids that there are."""
        lying, width = self._whereabouts.find(ids), dim * schemas.EMBEDDING.itemsize
        order = np.lexsort((lying.starts, lying.files))
        order = order[lying.files[order] >= 0]
        groups = list(_groups(lying, order.tolist(), width))
        ranges = [self._range(lying, group, width) for group in groups]
        numbers = np.unique(lying.files[order]).tolist()
        try:
            contents = self._looked_and_read(numbers, ranges)
        except SourceChangedError:
            replaced = [number for number in numbers if self._whereabouts.is_replaced(number)]
            if not replaced:
                raise
            yield from self._read(ids, dim)
            return
        for group, asked, content in zip(groups, ranges, contents, strict=True):
            for place in group:
                at = int(lying.starts[place]) - asked.start
                vector = np.frombuffer(content, schemas.EMBEDDING, dim, at)
                _check_length(vector, asked.uri, asked.start + at)
                # Without the bytes around it.
                yield int(ids[place]), vector.copy()

    def _range(self, lying: Lying, group: Sequence[int], width: int) -> FarRange:
        first, last = group[0], group[-1]
        uri, _ = self._whereabouts.file(int(lying.files[first]))
        return FarRange(uri, int(lying.starts[first]), int(lying.starts[last]) + width)

    def _looked_and_read(self, numbers: Sequence[int], ranges: Sequence[FarRange]) -> list[bytes]:
        """Bytes of the ranges, of files that are those that they were."""
        now = time.monotonic()
        due = [number for number in numbers if self._due_s.get(number, now) <= now]
        if not ranges:
            return []
        with ThreadPoolExecutor(min(AT_ONCE, 1 + len(due))) as threads:
            reading = threads.submit(far_ranges.read_all, ranges)
            for looking in [threads.submit(self._look, number) for number in due]:
                looking.result()
            return reading.result()

    def _look(self, number: int) -> None:
        """Whether a file is the one that it was."""
        uri, size_bytes = self._whereabouts.file(number)
        now = looked_at(uri)
        before = self._files.setdefault(number, now)
        if now.size_bytes != size_bytes or now != before:
            told = "" if now == before else f", version {now.etag}"
            known = "" if now == before else f", version {before.etag}"
            raise SourceChangedError(
                uri,
                f"{now.size_bytes:,} bytes{told}",
                f"{size_bytes:,} bytes{known}, as when the index was made",
                "Open it again; if that does not help, copy or publish the file anew.",
            )
        self._due_s[number] = time.monotonic() + LOOK_S


def _groups(lying: Lying, order: Sequence[int], width: int) -> Iterator[list[int]]:
    """Places, in order, that are read in one range."""
    group: list[int] = []
    for place in order:
        if group:
            is_same = lying.files[group[-1]] == lying.files[place]
            between = int(lying.starts[place]) - int(lying.starts[group[-1]]) - width
            if not is_same or between > far_ranges.NEIGHBOUR_BYTES:
                yield group
                group = []
        group.append(place)
    if group:
        yield group


def _check_length(vector: Halves, uri: str, start: int) -> None:
    length = float(np.linalg.norm(vector.astype(np.float32)))
    if not abs(length - 1) < LENGTH_WITHIN:
        raise SourceChangedError(
            uri,
            f"numbers from byte {start:,} on that are no vector of length 1 ({length:.3g})",
            "the vectors that the index was made of",
            "Open it again; if that does not help, copy or publish the file anew.",
        )
