"""An index file searched where it lies, in a bucket or behind a web server, by byte ranges.

The head with the centres of the lists and the table of their sizes are read once; of a query then
the lists that it looks into, neighbours in one range, all at once. What was read is kept as long
as there is room. Only files of faiss' own form with lists are searched so, see ``engine.lists``;
which lists a query looks into is decided by ``effort.afar``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarStretch
from clip_assets.files.identity import looked_at
from clip_assets.files.kept import Kept
from clip_assets.files.opening import need_ranges
from clip_assets.index.effort.afar import ID_BYTES, ListsAfar
from clip_assets.index.effort.reach import EVERYTHING
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index, Selection
from clip_assets.index.engine.lists import Bytes, no_lists, sizes_at

BLOCK_BYTES = 4 << 20
"""Of the head that are read at once."""

HEAD_BYTES = 52 << 20
"""Of head and sizes at most; a longer one is no case for this, and the file is copied."""

SEARCHED_BYTES = 32 << 20
"""Of lists that are searched at once for several queries; one alone may need more."""

_MAGIC = b"ilar"


class Cost(NamedTuple):
    """Of what is read for a query.

    Args:
        ranges: in which it lies.
        size_bytes: of them.
    """

    ranges: int
    size_bytes: int


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
        self.index, self._sizes, self._start, self._code_size = self._head()
        self._lying = ListsAfar(self._sizes, self._code_size)
        self.size_bytes = self._start + self._sizes.nbytes + self._lying.nbytes

    def search(
        self,
        queries: Floats,
        wanted: Sequence[Sequence[int]],
        k: int,
        gap: float | None,
        selected: Selection | None = None,
    ) -> tuple[Floats, Ids]:
        """The nearest vectors of each query as far as codes tell; see ``ann.search``.

        Args:
            queries: (q, dim).
            wanted: lists of each that are read, see ``looked_into``.
            k: how many.
            gap: of those lists.
            selected: ids that may be found; None: all.

        Raises:
            SourceChangedError: the file is another one by now.
            SourceError: it cannot be read.
        """
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

    def looked_into(self, query: Floats, gap: float | None) -> list[int]:
        """Numbers of the lists that a query, (dim,), looks into, the nearest first."""
        scores = ann.centroid_scores(self.index, query[None])[0]
        if gap is not None:
            return self._lying.nearest(scores, gap).tolist()
        lists = ann.inverted(self.index)
        assert lists is not None
        return self._lying.nearest(scores, EVERYTHING, lists.nprobe).tolist()

    def cost(self, numbers: Sequence[int], *, at_once: bool) -> Cost:
        """Of reading some lists, at once or some of them before: then at most."""
        if not at_once:
            between = len(numbers) * far_ranges.NEIGHBOUR_BYTES
            return Cost(len(numbers), self._length(numbers) + between)
        ranges = [self._lying.range(group) for group in self._groups(numbers)]
        return Cost(len(ranges), sum(stop - start for start, stop in ranges))

    def _together(self, wanted: Sequence[Sequence[int]]) -> Iterator[slice]:
        """Queries whose lists are in memory at once."""
        start, known = 0, set[int]()
        for place, numbers in enumerate(wanted):
            both = known | set(numbers)
            if place > start and self._length(both) > SEARCHED_BYTES:
                yield slice(start, place)
                start, both = place, set(numbers)
            known = both
        yield slice(start, len(wanted))

    def _head(self) -> tuple[Index, npt.NDArray[np.int64], int, int]:
        """Without lists; their sizes, where they begin, bytes of a code."""
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
                    return index, sizes, start, code_size
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
        whole = start + int(sizes.sum()) * (code_size + ID_BYTES)
        return (code_size, sizes, start) if whole == self._file.size_bytes else None

    def _length(self, numbers: Iterable[int]) -> int:
        return sum(int(self._lying.lengths[number]) for number in numbers)

    def _groups(self, numbers: Sequence[int]) -> list[Ids]:
        return self._lying.groups(np.array(numbers, np.int64))

    def _lists(self, numbers: Sequence[int]) -> dict[int, Bytes]:
        """Codes and then ids of some lists."""
        held = {number: self._kept.get(self._key(number)) for number in numbers}
        # Of all, those that are kept too: without them neighbours might lie in more ranges.
        groups = self._groups(numbers)
        missing = [[n for n in group.tolist() if held[n] is None] for group in groups]
        groups = [
            group[(group >= new[0]) & (group <= new[-1])]
            for group, new in zip(groups, missing, strict=True)
            if new
        ]
        for group, stretch in zip(groups, self._read(groups), strict=True):
            first = self._lying.starts[group[0]]
            begins = (self._lying.starts[group] - first).tolist()
            lengths = self._lying.lengths[group].tolist()
            for number, start, length in zip(group.tolist(), begins, lengths, strict=True):
                # Without the bytes around it.
                content = np.frombuffer(stretch.content[start : start + length], np.uint8)
                held[number] = content
                self._kept.put(self._key(number), content, length)
        return held

    def _key(self, number: int) -> tuple[str, str, int]:
        return "list", self._file.uri, number

    def _read(self, groups: Sequence[Ids]) -> list[FarStretch]:
        if not groups:
            return []
        lying = [self._lying.range(group) for group in groups]
        ranges = [(self._start + first, self._start + stop) for first, stop in lying]
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
