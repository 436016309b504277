"""Inverted lists of faiss' index files, read where they lie and joined without being held.

An index file ends in its lists: how long each is, then codes and ids, list after list. What
stands before them, the head, holds all that training has fixed, so files whose heads are equal
are encoded alike and their lists can be joined by copying bytes. Which vectors belong together
is said by ``index.faiss_index``; the form is faiss' own, of its function
``write_InvertedLists``.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import CheckFailedError, SchemaError

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

BLOCK_BYTES = 32 << 20
"""Of the lists that are in memory at once while files are joined, or one list if it is longer."""

_MAGIC = b"ilar"
_COUNTS = struct.Struct("<QQ")  # lists, bytes of a code
_ALL, _SPARSE = b"full", b"sprs"
_LENGTH = struct.Struct("<Q")
_ID_BYTES = 8


def no_lists(lists: int, code_size: int) -> bytes:
    """How the file of an empty index ends."""
    return _MAGIC + _COUNTS.pack(lists, code_size) + _SPARSE + _LENGTH.pack(0)


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of one file; nothing of them is in memory.

    Args:
        where: the file's name for errors.
        code_size: bytes of a code.
        sizes: (n,) vectors in each list.
        starts: (n,) where each list begins in ``content``: its codes, then its ids.
        content: the bytes of all lists, mapped.
    """

    where: str
    code_size: int
    sizes: Numbers
    starts: Numbers
    content: Bytes

    def codes(self, number: int) -> Bytes:
        """(m, code_size) of one list."""
        start, size = int(self.starts[number]), int(self.sizes[number])
        return self.content[start : start + size * self.code_size].reshape(size, self.code_size)

    def ids(self, number: int) -> Numbers:
        """(m,) of one list."""
        size = int(self.sizes[number])
        start = int(self.starts[number]) + size * self.code_size
        return self.content[start : start + size * _ID_BYTES].view(np.int64)

    def numbered(self, numbers: Numbers, total: int) -> "Lists":
        """The same lists under other numbers, among so many in all.

        Args:
            numbers: (n,) the new one of each.
            total: of lists; those without a number are empty.
        """
        sizes, starts = np.zeros((2, total), np.int64)
        sizes[numbers], starts[numbers] = self.sizes, self.starts
        return replace(self, sizes=sizes, starts=starts)

    def check_ids(self) -> None:
        """Make sure that the ids are 0..n-1, each once, for n vectors.

        Raises:
            CheckFailedError: they are not.
        """
        held = [self.ids(number) for number in np.flatnonzero(self.sizes)]
        ids = np.sort(np.concatenate([np.empty(0, np.int64), *held]))
        if not np.array_equal(ids, np.arange(len(ids))):
            raise CheckFailedError(
                self.where,
                f"{len(ids):,} ids, {len(np.unique(ids)):,} of them distinct",
                f"0 to {len(ids) - 1:,}, each once",
                f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
            )


def read(file: Path, head: bytes, where: str) -> Lists:
    """The lists of an index file.

    Args:
        file: on this machine.
        head: what stands before them in the file of an index that is encoded alike and holds as
            many vectors.
        where: its name for errors.

    Raises:
        SchemaError: it is encoded otherwise, cut off, or holds another number of vectors.
    """
    # As a plain array: a memmap takes longer to cut a list from than the list to copy.
    try:
        content = np.asarray(np.memmap(file, np.uint8, "r"))
    except ValueError as error:  # it is empty
        raise _cut(where) from error
    if content[: len(head)].tobytes() != head:
        raise SchemaError(
            where,
            "vectors that are encoded otherwise, trained on other vectors or other in number",
            "as the recipe says, and as many as its manifest says",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    try:
        code_size, sizes, start = sizes_at(content, len(head))
    except (struct.error, ValueError, IndexError) as error:
        raise _cut(where) from error
    lengths = sizes * (code_size + _ID_BYTES)
    ends = np.cumsum(lengths)
    if start + (int(ends[-1]) if len(ends) else 0) != len(content):
        raise _cut(where)
    return Lists(where, code_size, sizes, ends - lengths, content[start:])


def sizes_at(content: Bytes, start: int) -> tuple[int, Numbers, int]:
    """Bytes of a code, vectors in each list, and where the lists begin.

    Args:
        content: of a file.
        start: where its head ends.

    Raises:
        ValueError, IndexError: it does not; ``struct.error``: the content ends before.
    """
    fixed = len(_MAGIC) + _COUNTS.size + len(_ALL) + _LENGTH.size
    told = content[start : start + fixed].tobytes()
    lists, code_size = _COUNTS.unpack_from(told, len(_MAGIC))
    form = told[len(_MAGIC) + _COUNTS.size :][: len(_ALL)]
    [count] = _LENGTH.unpack_from(told, fixed - _LENGTH.size)
    start += fixed
    numbers = content[start : start + count * 8].view(np.int64)
    if form == _ALL and len(numbers) == lists:
        return code_size, numbers.copy(), start + count * 8
    if form != _SPARSE:
        raise ValueError(form)
    sizes = np.zeros(lists, np.int64)
    sizes[numbers[::2]] = numbers[1::2]
    return code_size, sizes, start + count * 8


def _cut(where: str) -> SchemaError:
    return SchemaError(where, "a file that is cut off or damaged", "whole lists", "Make it again.")


def join(part: Path, head: bytes, segments: Sequence[tuple[Lists, int]]) -> None:
    """Write an index file with the vectors of many; id i of one becomes its start + i.

    Within a list vectors stand in the order of the segments. Memory: ``BLOCK_BYTES``, and 16
    bytes for each list of each segment.

    Args:
        part: an unpublished file.
        head: of the result.
        segments: lists of files with equal heads, each with the first of its new ids.
    """
    first, _ = segments[0]
    sizes = np.zeros_like(first.sizes)
    for own, _ in segments:
        sizes += own.sizes
    with part.open("wb") as file:
        file.write(head + _MAGIC + _COUNTS.pack(len(sizes), first.code_size))
        file.write(_ALL + _LENGTH.pack(len(sizes)) + sizes.tobytes())
        for start, stop in blocks(sizes * (first.code_size + _ID_BYTES), BLOCK_BYTES):
            _write(file, segments, sizes, range(start, stop))


def blocks(lengths: Numbers, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of lists that are in memory together: so many bytes, or one list if it is longer."""
    ends = np.cumsum(lengths)
    start, before = 0, 0
    while start < len(lengths):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, stop
        start, before = stop, int(ends[stop - 1])


def _write(
    file: BinaryIO, segments: Sequence[tuple[Lists, int]], sizes: Numbers, block: range
) -> None:
    """A block of lists, each with the codes of all segments and then their ids."""
    code_size = segments[0][0].code_size
    here = sizes[block.start : block.stop]
    ends = np.cumsum(here * (code_size + _ID_BYTES))
    codes_at = ends - here * (code_size + _ID_BYTES)
    ids_at = codes_at + here * code_size
    joined = np.empty(int(ends[-1]), np.uint8)
    for lists, first_id in segments:
        for place in np.flatnonzero(lists.sizes[block.start : block.stop]).tolist():
            codes = lists.codes(block.start + place).reshape(-1)
            ids = (lists.ids(block.start + place) + first_id).view(np.uint8)
            at, ids_from = int(codes_at[place]), int(ids_at[place])
            joined[at : at + len(codes)] = codes
            joined[ids_from : ids_from + len(ids)] = ids
            codes_at[place] += len(codes)
            ids_at[place] += len(ids)
    file.write(joined.data)
