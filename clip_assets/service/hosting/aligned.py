"""Columns of the pool's metadata by vector id of a version, and the ids that a condition allows.

The index's own rows are few columns; a pool knows more of each pair. A column is read when it is
first asked for, one partition at a time, put in the order of the ids, and kept as long as there is
room. Conditions are parsed and computed by ``storage.condition``.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import Ids
from clip_assets.storage import cells, tables
from clip_assets.storage.cells import Cell
from clip_assets.storage.condition import Condition

KEPT_BYTES = 2**28
"""Of columns in memory, for each version."""

KEPT_CONDITIONS = 64
"""Whose ids are remembered."""

ROWS_AT_ONCE = 250_000
"""Of which a condition is computed together."""

DEADLINE_S = 30.0
"""For a condition over all of a version."""


_NULLABLE = pa.schema([field.with_nullable(nullable=True) for field in schemas.POOL_ROWS])
# A pair that the metadata no longer have is null.


class AlignedColumns:
    """What the pool's metadata say of the vector ids of one version. Threads may share one.

    Args:
        searcher: the version.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._slots = [
            (number, slot) for number, slot in enumerate(searcher.version.slots) if slot.content
        ]
        self._starts = np.array([slot.start for slot in searcher.version.slots], np.int64)
        self._kept: OrderedDict[tuple[int, str], pa.Array | pa.ChunkedArray] = OrderedDict()
        self._cells: dict[tuple[int, str], Cell] = {}
        self._bytes = 0
        self._allowed: OrderedDict[str, Ids] = OrderedDict()
        self._lock = threading.Lock()

    def table(self, ids: Ids, columns: Sequence[str]) -> pa.Table:
        """Some columns of some ids, in their order; null where the metadata have no such pair.

        Args:
            ids: (n,), each in use.
            columns: of ``schemas.POOL_ROWS``.
        """
        schema = pa.schema([_NULLABLE.field(name) for name in columns])
        order = np.argsort(ids, kind="stable")
        numbers = np.searchsorted(self._starts, ids[order], side="right") - 1
        tables = [schema.empty_table()]
        for number in np.unique(numbers).tolist():
            own = ids[order][numbers == number] - self._starts[number]
            tables.append(self._slot(number, columns).take(pa.array(own, pa.int64())))
        back = np.empty(len(ids), np.int64)
        back[order] = np.arange(len(ids))
        return pa.concat_tables(tables).combine_chunks().take(pa.array(back, pa.int64()))

    def know(self, ids: Ids) -> bool:
        """Whether the metadata have each of some pairs."""
        return None not in self.values(ids, "uid")

    def values(self, ids: Ids, column: str) -> list[Any]:
        """One column of some ids, in their order: for a few of them, value by value."""
        numbers = np.searchsorted(self._starts, ids, side="right") - 1
        own = {number: self._cell(number, column) for number in set(numbers.tolist())}
        places = (ids - self._starts[numbers]).tolist()
        return [own[number](place) for number, place in zip(numbers.tolist(), places, strict=True)]

    def allowed(self, condition: Condition) -> Ids:
        """The ids for which a condition holds, ascending.

        Raises:
            ConfigurationError: it cannot be computed, or not in time.
        """
        with self._lock:
            if condition.text in self._allowed:
                self._allowed.move_to_end(condition.text)
                return self._allowed[condition.text]
        end_s = time.monotonic() + DEADLINE_S
        chosen = [np.empty(0, np.int64)]
        for ids, table in self._batches(condition.columns):
            if time.monotonic() > end_s:
                raise ConfigurationError(
                    "where",
                    f"no end after {DEADLINE_S:g} s",
                    "an answer in that time",
                    "Ask for less.",
                )
            chosen.append(ids[condition.mask(table)])
        allowed = np.concatenate(chosen)
        with self._lock:
            self._allowed[condition.text] = allowed
            while len(self._allowed) > KEPT_CONDITIONS:
                self._allowed.popitem(last=False)
        return allowed

    def _batches(self, columns: Sequence[str]) -> Iterator[tuple[Ids, pa.Table]]:
        """All ids in use, with columns, in batches of many partitions."""
        ids: list[Ids] = []
        tables: list[pa.Table] = []
        for number, slot in self._slots:
            ids.append(np.arange(slot.start, slot.start + slot.count))
            tables.append(self._slot(number, columns or ("uid",)))
            if sum(map(len, ids)) >= ROWS_AT_ONCE:
                yield np.concatenate(ids), pa.concat_tables(tables)
                ids, tables = [], []
        if ids:
            yield np.concatenate(ids), pa.concat_tables(tables)

    def _slot(self, number: int, columns: Sequence[str]) -> pa.Table:
        """All rows of one range of ids."""
        with self._lock:
            missing = [name for name in columns if (number, name) not in self._kept]
            known = {name: self._kept[number, name] for name in columns if name not in missing}
        read = self._read(number, missing) if missing else {}
        with self._lock:
            for name, column in read.items():
                if (number, name) not in self._kept:
                    self._bytes += column.nbytes
                self._kept[number, name] = column
            for name in columns:
                if (number, name) in self._kept:
                    self._kept.move_to_end((number, name))
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                key, column = self._kept.popitem(last=False)
                self._bytes -= column.nbytes
                self._cells.pop(key, None)
        schema = pa.schema([_NULLABLE.field(name) for name in columns])
        return pa.table([{**known, **read}[name] for name in columns], schema=schema)

    def _cell(self, number: int, column: str) -> Cell:
        """What reads a column of one range of ids."""
        key = number, column
        with self._lock:
            cell = self._cells.get(key)
            if cell is not None:
                self._kept.move_to_end(key)
                return cell
        cell = cells.reader(self._slot(number, [column])[column].combine_chunks())
        with self._lock:
            if key in self._kept:
                self._cells[key] = cell
        return cell

    def _read(
        self, number: int, columns: Sequence[str]
    ) -> Mapping[str, pa.Array | pa.ChunkedArray]:
        slot = self._searcher.version.slots[number]
        assert slot.content is not None
        own = np.arange(slot.start, slot.start + slot.count)
        uids = self._searcher.rows(own, ["uid"])["uid"]
        store, path = self._searcher.pool.store, layout.pool_rows(slot.content.partition)
        try:
            names = [*dict.fromkeys(["uid", *columns])]
            stored = tables.read(store, path, schemas.POOL_ROWS, names)
        except MissingArtifactError:
            stored = schemas.POOL_ROWS.empty_table()
        places = pc.index_in(uids, stored["uid"].combine_chunks())
        rows = stored.select(list(columns)).take(places)
        return {
            name: rows[name].cast(_NULLABLE.field(name).type).combine_chunks()
            for name in rows.column_names
        }
