"""The rows of a range of vector ids in the form that answers at once, by id and by uid.

Beside the parquet files that other tools read: the same rows uncompressed, so that a row lies where
it is read, and the range's uids in order. Both are memory-mapped; opening them reads nothing. When
they are written is said by ``index.id_mapping``, what is made of them by ``retrieval.rows``, how
uids are read that cannot be mapped by ``index.far.far_uids``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.files.kept import Kept
from clip_assets.storage import cells, uids
from clip_assets.storage.cells import Cell

Places = npt.NDArray[np.int64]
"""Rows of a range, counted from 0."""

BATCH_ROWS = 2_048
"""Rows that lie together; all batches but the last are full."""

BATCH_BYTES = 13 << 10
"""What is known of mapped rows that lie together takes in memory, single values of each column."""

HEAD_BYTES = 128
"""Before the numbers of a file of uids."""


def write(part: Path, batches: Iterable[pa.RecordBatch]) -> list[pa.Array]:
    """Write rows of ``schemas.INDEX_ROWS`` to an unpublished file.

    Args:
        part: where.
        batches: of ``BATCH_ROWS`` each, but the last.

    Returns:
        Their uids.
    """
    written: list[pa.Array] = []
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, schemas.INDEX_ROWS) as writer:
        for batch in batches:
            writer.write_batch(batch)
            written.append(batch.column("uid"))
    return written


def write_uids(part: Path, rows: Sequence[pa.Array]) -> None:
    """Write the uids of a range's rows in order: (3, n) uint64 of both halves and the row.

    Memory: some 60 bytes for each row.

    Args:
        part: an unpublished file.
        rows: the uids, null where an id is not in use; those are left out.
    """
    column = pa.chunked_array(rows, pa.string())
    places = np.flatnonzero(column.is_valid().to_numpy())
    pairs = uids.pairs(column.drop_null())
    # Of a uid that is there twice the first row comes first.
    order = np.lexsort((places, pairs["f1"], pairs["f0"]))
    with part.open("wb") as file:
        np.save(file, np.stack([pairs["f0"][order], pairs["f1"][order], places[order].view("u8")]))


def runs(numbers: Places) -> Iterator[tuple[int, slice]]:
    """Each number of an ascending array, and where it stands."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=False):
        yield int(numbers[start]), slice(start, stop)


class UidsInOrder(NamedTuple):
    """Uids of a range in their order, of one that is there twice the first row first.

    Args:
        high: (n,) uint64 first halves.
        low: (n,) uint64 second halves.
        rows: (n,) uint64, of the range.
    """

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint64]

    def find(self, wanted: uids.UidPairs) -> Places:
        """The first row of each uid, -1 for one that is not there."""
        high, low, rows = self
        at = np.searchsorted(high, wanted["f0"])
        places = np.full(len(wanted), -1, np.int64)
        # Two uids with one first half are rare, so this is one step for nearly all of them.
        waiting = np.arange(len(wanted))
        while len(waiting):
            here = at[waiting]
            waiting, here = waiting[here < len(high)], here[here < len(high)]
            is_alike = high[here] == wanted["f0"][waiting]
            waiting, here = waiting[is_alike], here[is_alike]
            is_same = low[here] == wanted["f1"][waiting]
            places[waiting[is_same]] = rows[here[is_same]]
            waiting = waiting[~is_same]
            at[waiting] += 1
        return places

    def every(self, wanted: uids.UidPairs) -> Places:
        """All rows of some uids, ascending."""
        high, low, rows = self
        starts = np.searchsorted(high, wanted["f0"])
        counts = np.searchsorted(high, wanted["f0"], side="right") - starts
        # Keys whose first half is that of a uid, and which uid.
        own = np.repeat(np.arange(len(wanted)), counts)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        keys = np.repeat(starts, counts) + np.arange(len(own)) - before
        return np.unique(rows[keys[low[keys] == wanted["f1"][own]]]).astype(np.int64)


class _MappedBatch:
    """Rows that lie together, and what reads single values of them."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self.rows = rows
        self._cells: dict[str, Cell] = {}

    def value(self, inside: int, column: str) -> Any:
        cell = self._cells.get(column)
        if cell is None:
            cell = self._cells[column] = cells.reader(self.rows.column(column))
        return cell(inside)


class MappedRows:
    """The rows of one range of ids, as they were written.

    Args:
        rows: file of the rows.
        keys: file of the uids.
        stack: what closes them.
        kept: has what is known of batches for as long as it has room.
    """

    def __init__(self, rows: Path, keys: Path, stack: ExitStack, kept: Kept) -> None:
        file = stack.enter_context(pa.memory_map(str(rows)))
        self._reader = stack.enter_context(pa.ipc.open_file(file))
        high, low, numbers = np.load(keys, mmap_mode="r", allow_pickle=False)
        self._keys = UidsInOrder(high, low, numbers)
        self._name, self._kept = str(rows), kept

    def take(self, places: Places, columns: Sequence[str]) -> pa.Table:
        """Some columns of some rows, in the order of ``places``."""
        if len(places) and (np.diff(places) == 1).all():
            return self._between(int(places[0]), int(places[-1]) + 1, columns)
        order = np.argsort(places, kind="stable")
        inside = places[order] % BATCH_ROWS
        taken = [
            self._columns(number, columns).take(pa.array(inside[run], pa.int64()))
            for number, run in runs(places[order] // BATCH_ROWS)
        ]
        schema = pa.schema([schemas.INDEX_ROWS.field(name) for name in columns])
        back = np.empty(len(places), np.int64)
        back[order] = np.arange(len(places))
        return (
            pa.Table.from_batches(taken, schema).combine_chunks().take(pa.array(back, pa.int64()))
        )

    def row(self, place: int) -> Callable[[str], Any]:
        """What gives the value of a column in one row; None where it is null."""
        number, inside = divmod(place, BATCH_ROWS)
        return partial(self._batch(number).value, inside)

    def find(self, wanted: uids.UidPairs) -> Places:
        """The first row of each uid, -1 for one that is not there."""
        return self._keys.find(wanted)

    def every(self, wanted: uids.UidPairs) -> Places:
        """All rows of some uids, ascending."""
        return self._keys.every(wanted)

    def _between(self, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
        """Rows that lie one after the other; nothing is copied."""
        numbers = range(start // BATCH_ROWS, (stop - 1) // BATCH_ROWS + 1)
        table = pa.Table.from_batches([self._columns(number, columns) for number in numbers])
        return table.slice(start - numbers.start * BATCH_ROWS, stop - start)

    def _columns(self, number: int, columns: Sequence[str]) -> pa.RecordBatch:
        return self._batch(number).rows.select(list(columns))

    def _batch(self, number: int) -> _MappedBatch:
        key = "rows", self._name, number
        known: _MappedBatch | None = self._kept.get(key)
        if known is None:
            known = _MappedBatch(self._reader.get_batch(number))
            self._kept.put(key, known, BATCH_BYTES)
        return known
