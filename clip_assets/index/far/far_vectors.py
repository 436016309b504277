"""Whole vectors that lie in a bucket or behind a web server, read by byte ranges.

For the second look at what codes of an index find. Where vectors lie is said by ``far_embeddings``
for a pool and by ``retrieval.published_places`` for a published data set; how many of a query are
read by ``far_look``.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clip_assets import schemas
from clip_assets.errors import SourceChangedError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarRange, FarStretch
from clip_assets.files.identity import File, looked_at
from clip_assets.files.kept import Kept

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Ids = npt.NDArray[np.int64]

LOOK_S = 10.0
"""A file in a bucket that was looked at so long ago may be another one by now; of those of web
servers each answer tells which it is of."""

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


class _Looked(NamedTuple):
    """A file in a bucket as it was, and when it is looked at again."""

    file: File
    due_s: float


class VectorsElsewhere:
    """The vectors of one side by id. Threads may share them.

    Args:
        whereabouts: where they lie.
        kept: has them for as long as it has room.
        side: ``image`` or ``text``.
    """

    def __init__(self, whereabouts: Whereabouts, kept: Kept, side: str) -> None:
        self._whereabouts, self._kept, self._side = whereabouts, kept, side

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
        known: dict[int, Halves | None] = {
            number: self._kept.get(("vector", self._side, number)) for number in ids.tolist()
        }
        wanted = [number for number in known if number >= 0]
        missing = np.array([known[number] is None for number in wanted], np.bool_)
        for number, vector in self._read(np.array(wanted, np.int64), missing, dim):
            known[number] = vector
            self._kept.put(("vector", self._side, number), vector, vector.nbytes)
        rows = np.full((len(ids), dim), np.nan, np.float32)
        for row, number in enumerate(ids.tolist()):
            vector = known[number]
            if vector is not None:
                rows[row] = vector
        return rows

    def within(self, ids: Ids, dim: int, ranges: int, size_bytes: int) -> int:
        """How many of some vectors, from the first on, lie in so many ranges and bytes.

        Whether they are kept already is not asked: the same search has the same answer.
        """
        lying, width = self._whereabouts.find(ids), dim * schemas.EMBEDDING.itemsize
        few, many = 0, len(ids)
        while few < many:
            middle = (few + many + 1) // 2
            first = Lying(lying.files[:middle], lying.starts[:middle])
            groups = _groups(first, width)
            read = sum(_length(first, group, width) for group in groups)
            if len(groups) <= ranges and read <= size_bytes:
                few = middle
            else:
                many = middle - 1
        return few

    def _read(
        self, ids: Ids, missing: npt.NDArray[np.bool_], dim: int
    ) -> Iterator[tuple[int, Halves]]:
        """Those of some ids that are missing here, and there; some others as well."""
        if not missing.any():
            return
        lying, width = self._whereabouts.find(ids), dim * schemas.EMBEDDING.itemsize
        # Of all, those that are kept too: without them neighbours might lie in more ranges.
        groups = [_trimmed(group, missing) for group in _groups(lying, width)]
        groups = [group for group in groups if len(group)]
        ranges = [self._range(lying, group, width) for group in groups]
        numbers = sorted({int(lying.files[group[0]]) for group in groups})
        try:
            owners = [int(lying.files[group[0]]) for group in groups]
            contents = self._looked_and_read(numbers, ranges, owners)
        except SourceChangedError:
            replaced = [number for number in numbers if self._whereabouts.is_replaced(number)]
            if not replaced:
                raise
            yield from self._read(ids, missing, dim)
            return
        for group, asked, content in zip(groups, ranges, contents, strict=True):
            for place in group.tolist():
                at = int(lying.starts[place]) - asked.start
                vector = np.frombuffer(content, schemas.EMBEDDING, dim, at)
                _check_length(vector, asked.uri, asked.start + at)
                # Without the bytes around it.
                yield int(ids[place]), vector.copy()

    def _range(self, lying: Lying, group: Ids, width: int) -> FarRange:
        uri, _ = self._whereabouts.file(int(lying.files[group[0]]))
        start = int(lying.starts[group[0]])
        return FarRange(uri, start, start + _length(lying, group, width))

    def _looked_and_read(
        self, numbers: Sequence[int], ranges: Sequence[FarRange], owners: Sequence[int]
    ) -> list[bytes]:
        """Bytes of the ranges, of files that are those that they were.

        Args:
            numbers: of the files, each once.
            ranges: of them.
            owners: number of the file of each range.
        """
        if not ranges:
            return []
        due = [] if far_ranges.tells(ranges[0].uri) else list(filter(self._is_due, numbers))
        with ThreadPoolExecutor(min(AT_ONCE, 1 + len(due))) as threads:
            reading = threads.submit(far_ranges.read_all, ranges)
            for looking in [threads.submit(self._look, number) for number in due]:
                looking.result()
            stretches = reading.result()
        for number, stretch in zip(owners, stretches, strict=True):
            self._check_told(number, stretch)
        return [stretch.content for stretch in stretches]

    def _check_told(self, number: int, stretch: FarStretch) -> None:
        """Whether a stretch is of the file that it was, as far as the server tells."""
        key = "version", self._side, number
        etag: str = self._kept.get(key) or stretch.etag
        uri, size_bytes = self._whereabouts.file(number)
        if not stretch.is_of(FarStretch(b"", size_bytes, etag)):
            raise _changed(uri, (stretch.size_bytes, stretch.etag), (size_bytes, etag))
        if stretch.etag:
            self._kept.put(key, etag, len(etag))

    def _is_due(self, number: int) -> bool:
        looked: _Looked | None = self._kept.get(("file", self._side, number))
        return looked is None or looked.due_s <= time.monotonic()

    def _look(self, number: int) -> None:
        """Whether a file is the one that it was."""
        key = "file", self._side, number
        looked: _Looked | None = self._kept.get(key)
        uri, size_bytes = self._whereabouts.file(number)
        now = looked_at(uri)
        before = looked.file if looked else now
        if now.size_bytes != size_bytes or now != before:
            raise _changed(uri, (now.size_bytes, now.etag), (size_bytes, before.etag))
        text_bytes = len(uri) + len(now.etag)
        self._kept.put(key, _Looked(now, time.monotonic() + LOOK_S), text_bytes)


def _changed(uri: str, found: tuple[int, str], before: tuple[int, str]) -> SourceChangedError:
    """Sizes, and versions where these differ."""
    is_named = found[1] != before[1]
    told = [f"{size:,} bytes{f', version {tag}' * is_named}" for size, tag in (found, before)]
    return SourceChangedError(
        uri,
        told[0],
        f"{told[1]}, as when the index was made",
        "Open it again; if that does not help, copy or publish the file anew.",
    )


def _groups(lying: Lying, width: int) -> list[Ids]:
    """Places of vectors that are there, those together that are read in one range."""
    order = np.lexsort((lying.starts, lying.files))
    order = order[lying.files[order] >= 0]
    if not len(order):
        return []
    between = np.diff(lying.starts[order]) - width
    is_apart = (np.diff(lying.files[order]) != 0) | (between > far_ranges.NEIGHBOUR_BYTES)
    return np.split(order, np.flatnonzero(is_apart) + 1)


def _trimmed(group: Ids, missing: npt.NDArray[np.bool_]) -> Ids:
    """From the first to the last of a group that are missing."""
    [at] = np.nonzero(missing[group])
    return group[at[0] : at[-1] + 1] if len(at) else group[:0]


def _length(lying: Lying, group: Ids, width: int) -> int:
    """Bytes of a range."""
    return int(lying.starts[group[-1]] - lying.starts[group[0]]) + width


def _check_length(vector: Halves, uri: str, start: int) -> None:
    length = float(np.linalg.norm(vector.astype(np.float32)))
    if not abs(length - 1) < LENGTH_WITHIN:
        raise SourceChangedError(
            uri,
            f"numbers from byte {start:,} on that are no vector of length 1 ({length:.3g})",
            "the vectors that the index was made of",
            "Open it again; if that does not help, copy or publish the file anew.",
        )
