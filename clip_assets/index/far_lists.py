"""An index file searched where it lies, in a bucket or behind a web server, by byte ranges.

The head with the centres of the lists and the table of their sizes are read once; of a query then
the lists that it looks into, neighbours in one range, all at once. What was read is kept up to a
bound. Only files of faiss' own form with lists are searched so, see ``index.lists``; which lists a
query looks into is decided by ``index.ann``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import cast

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files import far_ranges
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import need_ranges
from clip_assets.index import ann
from clip_assets.index.ann import Floats, Index
from clip_assets.index.lists import no_lists, sizes_at

BLOCK_BYTES = 4 << 20
"""Of the head that are read at once."""

HEAD_BYTES = 64 << 20
"""Of head and sizes at most; a longer one is no case for this, and the file is copied."""

KEPT_BYTES = 64 << 20
"""Of lists that are kept; all are forgotten when there are more."""

MOST_LISTS = 100
"""That one query looks into; of more the nearest."""

_MAGIC = b"ilar"
_ID_BYTES = 8


class FarLists:
    """An index of which lists are loaded as they are needed. Threads may share it.

    Args:
        uri: of the file.

    Attributes:
        index: searches the lists that are loaded.

    Raises:
        SourceError: it cannot be read, or not in parts.
    """

    def __init__(self, uri: str) -> None:
        self._file = looked_at(uri)
        need_ranges(uri)
        self._fs, self._path = filesystem(uri)
        self._loading = Lock()
        self._loaded: set[int] = set()
        self._kept = 0
        self.index, self._sizes, self._starts, self._code_size = self._head()

    def load(self, queries: Floats, gap: float | None) -> None:
        """Read the lists that queries look into and that are not there yet.

        Raises:
            SourceChangedError: the file is another one by now.
            SourceError: it cannot be read.
        """
        with self._loading:
            wanted = {number for row in queries for number in self._looked_into(row, gap)}
            if wanted <= self._loaded:
                return
            if self._kept > KEPT_BYTES:
                self._forget()
            groups = self._groups(sorted(wanted - self._loaded))
            with ThreadPoolExecutor(1) as thread:
                reading = thread.submit(self._read, groups)
                self._check_unchanged()
                for numbers, content in zip(groups, reading.result(), strict=True):
                    self._add(numbers, content)

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

    def _head(self) -> tuple[Index, npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        content = b""
        while len(content) < min(HEAD_BYTES, self._file.size_bytes):
            stop = min(len(content) + BLOCK_BYTES, self._file.size_bytes)
            with translated(self._file.uri):
                content += bytes(self._fs.cat_file(self._path, start=len(content), end=stop))  # pyright: ignore[reportArgumentType]
            place = content.find(_MAGIC)
            while place >= 0:
                told = self._told(content, place)
                if told is not None:
                    code_size, sizes, start = told
                    empty = content[:place] + no_lists(len(sizes), code_size)
                    index = faiss.deserialize_index(np.frombuffer(empty, np.uint8))
                    lengths = sizes * (code_size + _ID_BYTES)
                    return index, sizes, start + np.cumsum(lengths) - lengths, code_size
                place = content.find(_MAGIC, place + 1)
        raise SourceError(
            self._file.uri,
            f"no lists in the first {len(content):,} bytes",
            "an index with lists, whole",
            "Copy it here: an exact index, or one with more centres, is not searched from afar.",
        )

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
        return int(self._starts[number] + self._sizes[number] * (self._code_size + _ID_BYTES))

    def _read(self, groups: Sequence[Sequence[int]]) -> list[bytes]:
        ranges = [(int(self._starts[group[0]]), self._end(group[-1])) for group in groups]
        return far_ranges.read(self._file.uri, ranges)

    def _add(self, numbers: Sequence[int], content: bytes) -> None:
        lists = ann.inverted(self.index)
        assert lists is not None
        first = int(self._starts[numbers[0]])
        for number in numbers:
            size, at = int(self._sizes[number]), int(self._starts[number]) - first
            codes = np.frombuffer(content, np.uint8, size * self._code_size, at)
            ids = np.frombuffer(content, np.uint8, size * _ID_BYTES, at + len(codes))
            own = ids.copy().view(np.int64), np.ascontiguousarray(codes)
            held = cast("faiss.InvertedLists", lists.invlists)
            held.add_entries(number, size, *map(faiss.swig_ptr, own))
            self._loaded.add(number)
            self._kept += len(codes) + len(ids)

    def _forget(self) -> None:
        lists = ann.inverted(self.index)
        assert lists is not None
        for number in self._loaded:
            cast("faiss.InvertedLists", lists.invlists).resize(number, 0)
        self._loaded.clear()
        self._kept = 0

    def _check_unchanged(self) -> None:
        now = looked_at(self._file.uri)
        if now != self._file:
            raise self._changed(f"version {now.etag}")

    def _changed(self, told: str) -> SourceChangedError:
        return SourceChangedError(
            self._file.uri,
            told,
            f"version {self._file.etag}, as when it was opened",
            "Open it again.",
        )
