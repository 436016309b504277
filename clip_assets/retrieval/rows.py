"""Rows of an index version by vector id and by uid, read from where they lie.

What the rows are is said by ``index.id_mapping``, which writes them. On a disk they are mapped. Of
an object store rows are read from the parquet files, only the row groups that hold a wanted id, and
uids are found as ``index.far.far_uids`` says. Of versions that earlier releases made there is
parquet alone, and for a uid the uids of the whole version are read.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.errors import SchemaError, SourceMissingError
from clip_assets.files.kept import Kept
from clip_assets.index.far import far_uids
from clip_assets.index.far.far_uids import FarUids
from clip_assets.index.mapped_rows import MappedRows, Places, runs
from clip_assets.index.versions import Version
from clip_assets.layout import PartitionKey
from clip_assets.retrieval.far_parquet import FarParquet
from clip_assets.storage import uids
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.store import Store

Ids = npt.NDArray[np.int64]

AT_ONCE = 32
"""Files of a server that are read side by side."""

UID_BYTES = 32 << 20
"""Of uids elsewhere that are read at once, or those of one range."""

FEW = 256
"""Up to so many rows are read value by value: results lie all over a version, and taking one or two
rows out of each of many batches costs several times as much."""


class RowsByUid(Protocol):
    """The rows of one range by uid, counted from 0."""

    def find(self, wanted: uids.UidPairs) -> Places:
        """The first row of each uid, -1 for one that is not there."""
        ...

    def every(self, wanted: uids.UidPairs) -> Places:
        """All rows of some uids, ascending."""
        ...


class RangeRows(RowsByUid, Protocol):
    """The same, and by their places."""

    def take(self, places: Places, columns: Sequence[str]) -> pa.Table:
        """Some columns of some rows, in the order of ``places``."""
        ...


class FarRows(RangeRows, Protocol):
    """Those of a file elsewhere."""

    @property
    def size_bytes(self) -> int:
        """That they take in memory."""
        ...


class Rows:
    """The metadata of one index version.

    Args:
        store: the pool's files.
        version: which rows.
        stack: what closes opened files.
        kept: has what is known of files, for as long as it has room.
    """

    def __init__(
        self, store: Store, version: Version, stack: ExitStack, kept: Kept | None = None
    ) -> None:
        self._store, self._kept = store, kept or Kept()
        self._version = version
        self._stack = stack
        self._starts = np.array([slot.start for slot in version.slots], np.int64)
        self._opened: dict[int, RangeRows] = {}
        self._far_uids = None if store.is_local else self._open_uids()

    def partition(self, vector_id: int) -> PartitionKey | None:
        """Whose vector an id is, None for an id that is not in use."""
        slot = bisect_right(self._starts, vector_id) - 1
        content = self._version.slots[slot].content
        return content.partition if content else None

    def read(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by column, one for each id, in the order of the ids; all None for unused ids."""
        return self.table(np.array(ids, np.int64)).to_pylist()

    def table(self, ids: Ids, columns: Sequence[str] = schemas.INDEX_ROWS.names) -> pa.Table:
        """Rows of some ids, in their order; all null for unused ids.

        Args:
            ids: (n,), each of the version.
            columns: of ``schemas.INDEX_ROWS``.
        """
        schema = pa.schema([schemas.INDEX_ROWS.field(name) for name in columns])
        if 0 < len(ids) <= FEW and (values := self._one_by_one(ids, columns)) is not None:
            return pa.table(dict(zip(columns, values, strict=True)), schema)
        order = np.argsort(ids, kind="stable")
        slots = np.searchsorted(self._starts, ids[order], side="right") - 1

        def taken(number: int, run: slice) -> pa.Table:
            return self._range(number).take(ids[order][run] - self._starts[number], columns)

        joined = pa.concat_tables([schema.empty_table(), *self._each(taken, runs(slots))])
        if (np.diff(order) == 1).all():
            return joined
        back = np.empty(len(ids), np.int64)
        back[order] = np.arange(len(ids))
        return joined.combine_chunks().take(pa.array(back, pa.int64()))

    def values(self, ids: Ids, columns: Sequence[str]) -> list[list[Any]]:
        """The same, value by value: for each column those of the ids, in their order."""
        if 0 < len(ids) <= FEW and (values := self._one_by_one(ids, columns)) is not None:
            return values
        return [column.to_pylist() for column in self.table(ids, columns).columns]

    def _each(
        self, taken: Callable[[int, slice], pa.Table], of: Iterable[tuple[int, slice]]
    ) -> list[pa.Table]:
        """Rows of each of some ranges; side by side where each waits for a server."""
        wanted = list(of)
        if self._store.is_local or len(wanted) < 2:
            return [taken(*one) for one in wanted]
        with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as threads:
            return list(threads.map(taken, *zip(*wanted, strict=True)))

    def _one_by_one(self, ids: Ids, columns: Sequence[str]) -> list[list[Any]] | None:
        """Values of some rows, each by itself; None where not all rows are mapped."""
        slots = np.searchsorted(self._starts, ids, side="right") - 1
        places = (ids - self._starts[slots]).tolist()
        rows: list[Callable[[str], Any]] = []
        for number, place in zip(slots.tolist(), places, strict=True):
            own = self._range(number)
            if not isinstance(own, MappedRows):
                return None
            rows.append(own.row(place))
        return [[row(name) for row in rows] for name in columns]

    def find(self, wanted: Sequence[str]) -> Ids:
        """The lowest vector id of each uid, -1 for one that the version has not.

        Raises:
            SchemaError: one of them is no uid.
        """
        pairs = uids.pairs(pa.chunked_array([wanted], pa.string()))
        ids = np.full(len(pairs), -1, np.int64)
        for start, own in self._by_uid(pairs):
            missing = np.flatnonzero(ids < 0)
            if not len(missing):
                break
            places = own.find(pairs[missing])
            ids[missing] = np.where(places < 0, -1, places + start)
        return ids

    def every(self, wanted: uids.UidPairs) -> Ids:
        """All vector ids of some uids, ascending."""
        own = [rows.every(wanted) + start for start, rows in self._by_uid(wanted)]
        return np.concatenate([np.empty(0, np.int64), *own])

    def _by_uid(self, wanted: uids.UidPairs) -> Iterator[tuple[int, RowsByUid]]:
        """The first id of each range, and its rows by those uids; in the order of the ranges."""
        slots = [n for n, slot in enumerate(self._version.slots) if slot.content and slot.count]
        if not len(wanted):
            return
        for numbers in self._together(slots, len(wanted)):
            for number, rows in zip(numbers, self._with_uids(numbers, wanted), strict=True):
                yield self._version.slots[number].start, rows

    def _together(self, slots: Sequence[int], wanted: int) -> Iterator[list[int]]:
        """Ranges whose uids are asked for at once: what is read of all is in memory."""
        numbers, size_bytes = list[int](), 0
        for number in slots:
            size_bytes += far_uids.most_bytes(self._version.slots[number].count, wanted)
            if numbers and (self._store.is_local or size_bytes > UID_BYTES):
                yield numbers
                numbers, size_bytes = [], 0
            numbers.append(number)
        if numbers:
            yield numbers

    def _with_uids(self, numbers: Sequence[int], wanted: uids.UidPairs) -> Iterable[RowsByUid]:
        if self._far_uids is not None:
            try:
                return self._far_uids.among(numbers, wanted)
            except SourceMissingError:
                # An earlier release wrote the version, all of it.
                self._far_uids = None
        return map(self._range, numbers)

    def _open_uids(self) -> FarUids | None:
        """The uids of ranges elsewhere, where these have them in order."""
        name = self._version.name
        return FarUids(lambda number: self._store.uri(layout.mapped_uids(name, number)), self._kept)

    def _range(self, number: int) -> RangeRows:
        if self._store.is_local:
            if number not in self._opened:
                self._opened[number] = self._open(number)
            return self._opened[number]
        own: FarRows | None = self._kept.get(("rows", number))
        if own is None:
            own = self._open_far(number)
            self._kept.put(("rows", number), own, own.size_bytes)
        return own

    def _open(self, number: int) -> RangeRows:
        mapped = layout.mapped_rows(self._version.name, number)
        if self._store.exists(mapped):
            keys = layout.mapped_uids(self._version.name, number)
            rows_file, keys_file = (
                self._stack.enter_context(self._store.local(path)) for path in (mapped, keys)
            )
            try:
                return MappedRows(rows_file, keys_file, self._stack, self._kept)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise SchemaError(
                    self._store.uri(mapped),
                    f"a damaged file, or its uids are ({error})",
                    "rows as they were written",
                    f"Run: {REPAIR}",
                ) from error
        path = layout.index_rows(self._version.name, number)
        file = self._stack.enter_context(self._store.local(path))
        return _ParquetRows(self._stack.enter_context(pq.ParquetFile(file, memory_map=True)))

    def _open_far(self, number: int) -> FarRows:
        path = layout.index_rows(self._version.name, number)
        return _FarParquetRows(FarParquet(self._store.uri(path)))


class _ParquetRows:
    """Rows in row groups of a parquet file."""

    def __init__(self, file: pq.ParquetFile | FarParquet) -> None:
        self._file = file
        metadata = file.metadata
        groups = range(metadata.num_row_groups)
        sizes = (metadata.row_group(group).num_rows for group in groups)
        self._starts = list(accumulate(sizes, initial=0))

    def take(self, places: Places, columns: Sequence[str]) -> pa.Table:
        groups = np.searchsorted(self._starts, places, side="right") - 1
        wanted = np.unique(groups).tolist()
        table = self._file.read_row_groups(wanted, columns=list(columns))
        before = dict(zip(wanted, accumulate(map(self._size, wanted), initial=0), strict=False))
        starts = np.array([before[group] - self._starts[group] for group in groups.tolist()])
        return table.take(pa.array(places + starts.astype(np.int64), pa.int64()))

    def find(self, wanted: uids.UidPairs) -> Places:
        stored = self._uids()
        own = np.flatnonzero(stored.is_valid().to_numpy())
        pairs = uids.pairs(stored.drop_null())
        place_of = {pair: own[place] for place, pair in reversed(list(enumerate(pairs.tolist())))}
        return np.array([place_of.get(pair, -1) for pair in wanted.tolist()], np.int64)

    def every(self, wanted: uids.UidPairs) -> Places:
        stored = self._uids()
        own = np.flatnonzero(stored.is_valid().to_numpy())
        keys = uids.keys(uids.pairs(stored.drop_null()))
        return own[np.isin(keys, uids.keys(wanted))]

    def _uids(self) -> pa.ChunkedArray:
        groups = list(range(len(self._starts) - 1))
        return self._file.read_row_groups(groups, columns=["uid"])["uid"]

    def _size(self, group: int) -> int:
        return self._starts[group + 1] - self._starts[group]


class _FarParquetRows(_ParquetRows):
    """Those of a file elsewhere."""

    def __init__(self, file: FarParquet) -> None:
        super().__init__(file)
        # Of the starts, Python's numbers.
        self.size_bytes = file.size_bytes + 40 * len(self._starts)
