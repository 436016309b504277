"""Rows of a published data set by vector id, read from its parquet files where they lie.

Which rows are published is said by ``publishing.hub_dataset``: those that are not leave a hole in
their range of ids. Of a file only row groups that hold a wanted id are read.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, SchemaError
from clip_assets.files.faults import translated
from clip_assets.index.mapped_rows import Places, runs
from clip_assets.publishing.version_file import as_published
from clip_assets.retrieval.far_parquet import FarParquet
from clip_assets.retrieval.rows import Ids, Rows
from clip_assets.storage import uids

_NAME_BYTES = 60
# Of a text of Python beside its letters.


class PublishedRows(Rows):
    """The rows of a published data set."""

    def vectors(self, ids: Ids, side: str, dim: int) -> npt.NDArray[np.float32]:
        """(n, dim) vectors of some ids, in their order; NaN of one that is not published.

        Raises:
            ConfigurationError: vectors of this side are not published.
        """
        read = np.full((len(ids), dim), np.nan, np.float32)
        order = np.argsort(ids, kind="stable")
        slots = np.searchsorted(self._starts, ids[order], side="right") - 1
        for number, run in runs(slots):
            own = self._range(number)
            assert isinstance(own, PublishedRange)
            read[order[run]] = own.vectors(ids[order][run] - self._starts[number], side, dim)
        return read

    def column(self, number: int, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """A column of a range of ids, whole; null where it has none, or a row is not published."""
        places = np.arange(self._version.slots[number].count)
        return self._range(number).take(places, [name])[name].cast(kind)

    def _open_uids(self) -> None:
        """Published are parquet files alone."""

    def _open(self, number: int) -> "PublishedRange":
        path = as_published(layout.hub_rows(number))
        start, where = self._version.slots[number].start, self._store.uri(path)
        file = self._stack.enter_context(self._store.local(path))
        return PublishedRange(file, start, where, self._stack)

    def _open_far(self, number: int) -> "PublishedRange":
        path = as_published(layout.hub_rows(number))
        start = self._version.slots[number].start
        return PublishedRange(None, start, self._store.uri(path), self._stack)


class PublishedRange:
    """The published rows of one range of ids.

    Args:
        file: on this machine; None: it is read where it lies.
        start: the range's first id.
        where: its name for errors, and where it lies.
        stack: what closes it.

    Raises:
        SchemaError: it is no such file.
    """

    def __init__(self, file: Path | None, start: int, where: str, stack: ExitStack) -> None:
        self._start, self._where = start, where
        try:
            self._file = stack.enter_context(pq.ParquetFile(file)) if file else FarParquet(where)
        except pa.ArrowInvalid as error:
            raise self._wrong(str(error)) from error
        told = self._file.metadata
        schema = told.schema.to_arrow_schema()
        self._names = schema.names
        if self._names[:1] != ["i"] or "uid" not in self._names or schema.types[0] != pa.int64():
            raise self._wrong(f"columns {', '.join(self._names)}")
        # Of a partition that was taken down whole there is a file without rows.
        groups = [n for n in range(told.num_row_groups) if told.row_group(n).num_rows]
        ids: list[Any] = [told.row_group(n).column(0) for n in groups]
        if not all(one.is_stats_set and one.statistics.has_min_max for one in ids):
            raise self._wrong("groups of rows that do not tell their lowest id")
        self._groups = np.array(groups, np.int64)
        self._lowest = np.array([one.statistics.min for one in ids], np.int64)
        names_bytes = sum(len(name) + _NAME_BYTES for name in self._names)
        own_bytes = self._groups.nbytes + self._lowest.nbytes + names_bytes
        kept = self._file.size_bytes if isinstance(self._file, FarParquet) else 0
        self.size_bytes = own_bytes + kept

    def take(self, places: Places, columns: Sequence[str]) -> pa.Table:
        """Some columns of some rows, in the order of ``places``; null where there are none."""
        present = [name for name in columns if name in self._names]
        table, rows = self._read(places + self._start, present)
        taken = table.take(rows)
        count = len(places)
        every: list[Any] = [
            taken[name] if name in present else _nothing(count, name) for name in columns
        ]
        return pa.table(every, names=list(columns))

    def vectors(self, places: Places, side: str, dim: int) -> npt.NDArray[np.float32]:
        """Vectors of some rows, NaN where there are none."""
        name = f"{side}_embedding"
        if name not in self._names:
            raise ConfigurationError(
                self._where,
                f"no vectors of {side}s",
                f"column {name}",
                "They are not published; search by a text, an image or an embedding.",
            )
        table, rows = self._read(places + self._start, [name])
        read = np.full((len(places), dim), np.nan, np.float32)
        own = np.asarray(rows.is_valid(), np.bool_)
        stored: Any = table[name].take(rows.drop_null()).combine_chunks()
        try:
            vectors = stored.cast(pa.list_(pa.float32(), dim))
        except pa.ArrowException as error:
            raise self._wrong(f"vectors that are not of {dim} numbers ({error})") from error
        if stored.null_count:
            raise self._wrong("rows without a vector")
        read[own] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
        return read

    def find(self, wanted: uids.UidPairs) -> Places:
        """The first row of each uid, -1 for one that is not there."""
        ids, keys = self._uids()
        if not len(keys):
            return np.full(len(wanted), -1, np.int64)
        order = np.argsort(keys, kind="stable")
        asked = uids.keys(wanted)
        at = np.minimum(np.searchsorted(keys[order], asked), len(keys) - 1)
        is_there = keys[order][at] == asked
        return np.where(is_there, ids[order][at] - self._start, -1)

    def every(self, wanted: uids.UidPairs) -> Places:
        """All rows of some uids, ascending."""
        ids, keys = self._uids()
        return ids[np.isin(keys, uids.keys(wanted))] - self._start

    def _uids(self) -> tuple[Ids, uids.Keys]:
        with translated(self._where):
            stored = self._file.read_row_groups(self._groups.tolist(), columns=["i", "uid"])
        return stored["i"].to_numpy(), uids.keys(uids.pairs(stored["uid"]))

    def _read(self, ids: Ids, columns: Sequence[str]) -> tuple[pa.Table, pa.Array]:
        """Rows around some ids, and which of them each id is, null where it is none."""
        groups = np.maximum(np.searchsorted(self._lowest, ids, side="right") - 1, 0)
        wanted = self._groups[np.unique(groups)] if len(self._groups) else self._groups
        with translated(self._where):
            table = self._file.read_row_groups(
                wanted.tolist(), columns=["i", *columns]
            ).combine_chunks()
        if not table.num_rows:
            return table, pa.nulls(len(ids), pa.int64())
        own = table["i"].to_numpy()
        at = np.minimum(np.searchsorted(own, ids), len(own) - 1)
        return table, pa.array(at, pa.int64(), mask=own[at] != ids)

    def _wrong(self, told: str) -> SchemaError:
        return SchemaError(
            self._where,
            told,
            f"rows as {layout.HUB_DATASET} writes them, vector ids first",
            "Publish the data set anew with this release.",
        )


def _nothing(count: int, name: str) -> pa.Array:
    """A column that is not published."""
    is_known = name in schemas.INDEX_ROWS.names
    kind: Any = schemas.INDEX_ROWS.field(name).type if is_known else pa.null()
    return pa.nulls(count, kind)
