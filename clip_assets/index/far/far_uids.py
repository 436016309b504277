"""The uids of ranges of ids that lie in a bucket or behind a web server, read by byte ranges.

Which files these are is said by ``mapped_rows``, which writes them. Uids are digests, so where one
would stand in its order is known within some hundreds of rows: these are read, not the file.
"""

import io
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clip_assets.errors import SchemaError, SourceChangedError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarRange, FarStretch
from clip_assets.files.kept import Kept
from clip_assets.index.mapped_rows import HEAD_BYTES, UidsInOrder
from clip_assets.storage import uids
from clip_assets.storage.expected import REPAIR

Numbers = npt.NDArray[np.uint64]

DEVIATIONS = (4.0, 32.0)
"""How far around its expected place a uid is looked for, in standard deviations of that of a
digest; 1 of 16,000 is not within the first. One that is in neither is looked for everywhere."""

NEAR_ROWS = far_ranges.NEIGHBOUR_BYTES // 8
"""Between two stretches that are better read as one."""

SMALL_ROWS = 2_048
"""Up to so many are read whole, in one range of 48 KiB."""

_PLACES = 2.0**64
# Of first halves.

_Piece = tuple[int, int]
# Numbers of a file, counted from 0: from the first to before the last.

_Asking = Generator[list[_Piece], list[Numbers], UidsInOrder]
# Asks for pieces of one file until it knows what it was made to find.


class _Head(NamedTuple):
    """What is known of a file: its rows, and which one it is."""

    length: int
    stretch: FarStretch


class FarUids:
    """Uids of a version's ranges. Threads may share it.

    Args:
        uri: of the file of a range, by its number.
        kept: has the files' heads for as long as it has room.
    """

    def __init__(self, uri: Callable[[int], str], kept: Kept) -> None:
        self._uri, self._kept = uri, kept

    def among(self, numbers: Sequence[int], wanted: uids.UidPairs) -> list[UidsInOrder]:
        """Of each of some ranges those uids that begin like one of the wanted, at least.

        All ranges are asked at once: their heads, if they are not known, then twice or a few times.

        Raises:
            SourceMissingError: a file is not there.
            SourceChangedError: one is another by now, as far as the server tells, or was cut off.
            SchemaError: one is damaged.
            SourceError: one cannot be read.
        """
        heads = self._heads(numbers)
        high = np.unique(wanted["f0"])
        askings = [_asking(head.length, high) for head in heads]
        known: dict[int, UidsInOrder] = {}
        answers: list[list[Numbers] | None] = [None] * len(numbers)
        while len(known) < len(numbers):
            asked: list[list[_Piece]] = [[] for _ in numbers]
            for place, asking in enumerate(askings):
                if place not in known:
                    try:
                        asked[place] = _next(asking, answers[place])
                    except StopIteration as end:
                        known[place] = end.value
            answers = list(self._read(numbers, heads, asked))
        return [known[place] for place in range(len(numbers))]

    def _heads(self, numbers: Sequence[int]) -> list[_Head]:
        known: dict[int, _Head | None] = {
            number: self._kept.get(("uids", number)) for number in numbers
        }
        new = [number for number, head in known.items() if head is None]
        asked = [FarRange(self._uri(number), 0, HEAD_BYTES) for number in new]
        for number, stretch in zip(new, far_ranges.read_all(asked), strict=True):
            head = _Head(_rows(stretch, self._uri(number)), stretch._replace(content=b""))
            self._kept.put(("uids", number), head, len(stretch.etag))
            known[number] = head
        return [head for head in known.values() if head is not None]

    def _read(
        self, numbers: Sequence[int], heads: Sequence[_Head], asked: Sequence[Sequence[_Piece]]
    ) -> list[list[Numbers]]:
        """Parts of each range's file."""
        of = [(place, piece) for place, pieces in enumerate(asked) for piece in pieces]
        ranges = [
            FarRange(self._uri(numbers[place]), *(HEAD_BYTES + 8 * end for end in piece))
            for place, piece in of
        ]
        read: list[list[Numbers]] = [[] for _ in numbers]
        for (place, _), stretch in zip(of, far_ranges.read_all(ranges), strict=True):
            self._check_same(numbers[place], stretch, heads[place].stretch)
            read[place].append(np.frombuffer(stretch.content, "<u8"))
        return read

    def _check_same(self, number: int, stretch: FarStretch, before: FarStretch) -> None:
        if not stretch.is_of(before):
            raise SourceChangedError(
                self._uri(number),
                f"{stretch.size_bytes:,} bytes, version {stretch.etag}",
                f"{before.size_bytes:,} bytes, version {before.etag}, as when it was opened",
                "Open it again.",
            )


def most_bytes(count: int, wanted: int) -> int:
    """About what is read of a range of so many rows for so many uids."""
    around = 8 * (DEVIATIONS[0] * np.sqrt(count) + NEAR_ROWS)
    return int(min(24 * count, wanted * around))


def _next(asking: _Asking, answers: list[Numbers] | None) -> list[_Piece]:
    return next(asking) if answers is None else asking.send(answers)


def _rows(head: FarStretch, uri: str) -> int:
    """How many uids a file has."""
    content = io.BytesIO(head.content)
    try:
        np.lib.format.read_magic(content)
        shape, is_columns, kind = np.lib.format.read_array_header_1_0(content)
    except ValueError as error:
        raise _damaged(uri, str(error)) from error
    if len(shape) != 2 or shape[0] != 3 or is_columns or kind != np.dtype("<u8"):
        raise _damaged(uri, f"{kind} of shape {shape}")
    return int(shape[1])


def _damaged(uri: str, found: str) -> SchemaError:
    return SchemaError(uri, found, "uint64 of shape (3, n)", f"Run: {REPAIR}")


def _asking(count: int, high: Numbers) -> _Asking:
    """Find the uids of a file that begin with one of some halves.

    Args:
        count: uids of the file.
        high: (n,) first halves, ascending, each once.
    """
    places, halves = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for deviations in DEVIATIONS:
        starts, stops = _around(high, count, deviations)
        firsts, ends = _joined(starts, stops)
        if not len(high) or count <= SMALL_ROWS or 2 * int((ends - firsts).sum()) > count:
            break
        read = yield list(zip(firsts.tolist(), ends.tolist(), strict=True))
        owners = np.searchsorted(firsts, starts, side="right") - 1
        open_halves = [np.empty(0, np.uint64)]
        for number, stretch in enumerate(read):
            own, first = high[owners == number], int(firsts[number])
            is_told = (first == 0) | (stretch[0] < own)
            is_told &= (int(ends[number]) == count) | (stretch[-1] > own)
            at = np.flatnonzero(np.isin(stretch, own[is_told]))
            places.append(first + at)
            halves.append(stretch[at])
            open_halves.append(own[~is_told])
        high = np.concatenate(open_halves)
    if len(high) and count:
        [every] = yield [(0, 3 * count)]
        return UidsInOrder(*every.reshape(3, count))
    at = np.concatenate(places)
    order = np.argsort(at)
    return (yield from _completed(count, at[order], np.concatenate(halves)[order]))


def _completed(count: int, at: npt.NDArray[np.int64], high: Numbers) -> _Asking:
    """The uids in some places, ascending, of which first halves are known."""
    if not len(at):
        return UidsInOrder(high, high, high)
    firsts, ends = _joined(at, at + 1)
    runs = list(zip(firsts.tolist(), ends.tolist(), strict=True))
    read = yield [(row * count + first, row * count + end) for row in (1, 2) for first, end in runs]
    inside = [at[(at >= first) & (at < end)] - first for first, end in runs]
    low, rows = (
        np.concatenate([piece[own] for piece, own in zip(pieces, inside, strict=True)])
        for pieces in (read[: len(runs)], read[len(runs) :])
    )
    return UidsInOrder(high, low, rows)


def _around(
    high: Numbers, count: int, deviations: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """From where to where first halves are expected."""
    expected = high / _PLACES * count
    within = deviations * np.sqrt(count) / 2 + 1
    return (
        np.maximum(expected - within, 0).astype(np.int64),
        np.minimum(expected + within + 1, count).astype(np.int64),
    )


def _joined(
    starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Stretches, ascending, of which neighbours are one."""
    is_apart = starts[1:] - stops[:-1] > NEAR_ROWS
    begins = np.ones(len(starts), np.bool_)
    finishes = begins.copy()
    begins[1:] = finishes[:-1] = is_apart
    return starts[begins], stops[finishes]
