"""An index file searched where it lies, in a bucket or behind a web server, by byte ranges.

The head with the centres of the lists and the table of their sizes are read once; of a query then
the lists that it looks into, neighbours in one range, all at once. What was read is kept as long
as there is room. Only files of faiss' own form with lists are searched so, see ``engine.lists``;
which lists a query looks into is decided by ``engine.ann``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarStretch
from clip_assets.files.identity import looked_at
from clip_assets.files.kept import Kept
from clip_assets.files.opening import need_ranges
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index, Selection
from clip_assets.index.engine.lists import Bytes, no_lists, sizes_at

BLOCK_BYTES = 4 << 20
"""Of the head that are read at once."""

HEAD_BYTES = 52 << 20
"""Of head and sizes at most; a longer one is no case for this, and the file is copied."""

SEARCHED_BYTES = 32 << 20
"""Of lists that are searched at once for several queries; one alone may need more."""

MOST_LISTS = 100
"""That one query looks into; of more the nearest."""

_MAGIC = b"ilar"
_ID_BYTES = 8


class FarLists:
    """An index of which lists are read as they are needed. Threads may share it.

    Args:
        uri: of the file.
        kept: has its lists for as long as it has room.

    Attributes:
        index: without its lists; to be searched by ``search`` alone.
        size_bytes: that it takes in memory without lists.

    Raises:
        SourceError: it cannot be read, or not in parts.
    """

    def __init__(self, uri: str, kept: Kept) -> None:
        self._file = looked_at(uri)
        need_ranges(uri)
        self._kept = kept
        self._searching = Lock()
        self._first = FarStretch(b"")
        self.index, self._sizes, self._starts, self._code_size = self._head()
        self.size_bytes = int(self._starts[0]) + self._sizes.nbytes + self._starts.nbytes

    def search(
        self, queries: Floats, k: int, gap: float | None, selected: Selection | None = None
    ) -> tuple[Floats, Ids]:
        """The nearest vectors of each query as far as codes tell; see ``ann.search``.

        Raises:
            SourceChangedError: the file is another one by now.
            SourceError: it cannot be read.
        """
        wanted = [self._looked_into(query, gap) for query in queries]
        answers: list[tuple[Floats, Ids]] = []
        for rows in self._together(wanted):
            held = self._lists(sorted({n for numbers in wanted[rows] for n in numbers}))
            filled = self._filled(held)
            lists = ann.inverted(self.index)
            assert lists is not None
            with self._searching:
                lists.replace_invlists(filled, False)  # noqa: FBT003 (faiss knows no names)
                try:
                    answers.append(ann.search(self.index, queries[rows], k, gap, selected))
                finally:
                    lists.invlists = None
        return np.concatenate([own for own, _ in answers]), np.concatenate([i for _, i in answers])

    def ranges(self, query: Floats, gap: float | None) -> int:
        """In how many ranges the lists lie that a query, (dim,), looks into."""
        return len(self._groups(sorted(self._looked_into(query, gap))))

    def _looked_into(self, query: Floats, gap: float | None) -> list[int]:
        """Lists that are not empty, the nearest first."""
        scores = ann.centroid_scores(self.index, query[None])[0]
        nearest = np.argsort(-scores, kind="stable")[:MOST_LISTS]
        lists = ann.inverted(self.index)
        assert lists is not None
        if gap is None:
            nearest = nearest[: lists.nprobe]
        else:
            nearest = nearest[scores[nearest] >= scores[nearest[0]] - np.float32(gap)]
        return [number for number in nearest.tolist() if self._sizes[number]]

    def _together(self, wanted: Sequence[Sequence[int]]) -> Iterator[slice]:
        """Queries whose lists are in memory at once."""
        start, known = 0, set[int]()
        for place, numbers in enumerate(wanted):
            both = known | set(numbers)
            if place > start and sum(map(self._length, both)) > SEARCHED_BYTES:
                yield slice(start, place)
                start, both = place, set(numbers)
            known = both
        yield slice(start, len(wanted))

    def _head(self) -> tuple[Index, npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        content = b""
        while len(content) < min(HEAD_BYTES, self._file.size_bytes):
            stop = min(len(content) + BLOCK_BYTES, HEAD_BYTES, self._file.size_bytes)
            [stretch] = far_ranges.read(self._file.uri, [(len(content), stop)])
            if not content:
                self._first = stretch._replace(content=b"")
            self._check_same(stretch)
            content += stretch.content
            place = content.find(_MAGIC)
            while place >= 0:
                told = self._told(content, place)
                if told is not None:
                    code_size, sizes, start = told
                    index = self._without_lists(content[:place], len(sizes), code_size)
                    lengths = sizes * (code_size + _ID_BYTES)
                    return index, sizes, start + np.cumsum(lengths) - lengths, code_size
                place = content.find(_MAGIC, place + 1)
        raise SourceError(
            self._file.uri,
            f"no lists in the first {len(content):,} bytes",
            "an index with lists, whole",
            "Copy it here: an exact index, or one with more centres, is not searched from afar.",
        )

    def _without_lists(self, head: bytes, lists: int, code_size: int) -> Index:
        empty = head + no_lists(lists, code_size)
        try:
            return faiss.deserialize_index(np.frombuffer(empty, np.uint8))
        except RuntimeError as error:
            told = f"no readable index ({str(error)[:200]})"
            raise SourceError(self._file.uri, told, "a faiss index", "Copy it again.") from error

    def _told(self, content: bytes, place: int) -> tuple[int, npt.NDArray[np.int64], int] | None:
        """The table of sizes, if it begins there and fits the file."""
        try:
            code_size, sizes, start = sizes_at(np.frombuffer(content, np.uint8), place)
        except (struct.error, ValueError, IndexError):
            return None
        whole = start + int(sizes.sum()) * (code_size + _ID_BYTES)
        return (code_size, sizes, start) if whole == self._file.size_bytes else None

    def _groups(self, numbers: Sequence[int]) -> list[list[int]]:
        """Lists that are read in one range."""
        groups: list[list[int]] = []
        end = -far_ranges.NEIGHBOUR_BYTES - 1
        for number in numbers:
            if int(self._starts[number]) - end > far_ranges.NEIGHBOUR_BYTES:
                groups.append([])
            groups[-1].append(number)
            end = self._end(number)
        return groups

    def _end(self, number: int) -> int:
        return int(self._starts[number]) + self._length(number)

    def _length(self, number: int) -> int:
        return int(self._sizes[number]) * (self._code_size + _ID_BYTES)

    def _lists(self, numbers: Sequence[int]) -> dict[int, Bytes]:
        """Codes and then ids of some lists."""
        held = {number: self._kept.get(self._key(number)) for number in numbers}
        groups = self._groups([number for number in numbers if held[number] is None])
        for group, stretch in zip(groups, self._read(groups), strict=True):
            first = int(self._starts[group[0]])
            for number in group:
                start, stop = int(self._starts[number]) - first, self._end(number) - first
                # Without the bytes around it.
                held[number] = np.frombuffer(stretch.content[start:stop], np.uint8)
                self._kept.put(self._key(number), held[number], stop - start)
        return held

    def _key(self, number: int) -> tuple[str, str, int]:
        return "list", self._file.uri, number

    def _read(self, groups: Sequence[Sequence[int]]) -> list[FarStretch]:
        if not groups:
            return []
        ranges = [(int(self._starts[group[0]]), self._end(group[-1])) for group in groups]
        with ThreadPoolExecutor(1) as thread:
            reading = thread.submit(far_ranges.read, self._file.uri, ranges)
            if not self._first.is_told and (now := looked_at(self._file.uri)) != self._file:
                raise self._changed(now.etag)
            stretches = reading.result()
        for stretch in stretches:
            self._check_same(stretch)
        return stretches

    def _filled(self, held: dict[int, Bytes]) -> faiss.ArrayInvertedLists:
        filled = faiss.ArrayInvertedLists(len(self._sizes), self._code_size)
        for number, content in held.items():
            size = int(self._sizes[number])
            codes = content[: size * self._code_size]
            ids = content[len(codes) :].copy().view(np.int64)
            filled.add_entries(number, size, *map(faiss.swig_ptr, (ids, codes)))
        return filled

    def _check_same(self, stretch: FarStretch) -> None:
        if not stretch.is_of(self._first):
            raise self._changed(f"{stretch.size_bytes}-{stretch.etag}")

    def _changed(self, found: str) -> SourceChangedError:
        return SourceChangedError(
            self._file.uri,
            f"version {found}",
            f"version {self._file.etag}, as when it was opened",
            "Open it again.",
        )
