"""Metadata that clip-retrieval's back keeps in an HDF5 file: a data set a column.

Of a few rows only the pieces are read that hold them; a column that is wanted whole is kept.
In a reordered file rows stand as the lists of the index hold their vectors, and a file of bare
int64 beside it says where each id went.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import SchemaError, SourceMissingError

Ids = npt.NDArray[np.int64]

GROUP = "dataset"
"""Whose data sets are the columns."""

PLACES = "ivf_old_to_new_mapping.npy"
"""In spite of its name it has no header."""

FEW = 20_000
"""Up to so many rows are read one by one; for more the column is read whole."""

ROWS_AT_ONCE = 1_000_000
"""Of a column that is read whole."""


class Hdf5Columns:
    """Columns of an HDF5 file. Threads may share one.

    Args:
        file: of it.
        places: of each id's row; None: ids are places.

    Raises:
        SourceMissingError: the library that reads such files is not there.
        SchemaError: the file is damaged, or has no columns of one length.
    """

    def __init__(self, file: Path, places: Ids | None = None) -> None:
        self._where, self._places = str(file), places
        self._sets: dict[str, Any] = _columns(file)
        self.names: Sequence[str] = [*self._sets]
        counts = {len(column) for column in self._sets.values()}
        if len(counts) != 1:
            told = f"columns of {sorted(counts)} rows" if counts else "no columns"
            raise _damaged(file, told)
        self._count = counts.pop()
        self._kept: dict[str, pa.ChunkedArray] = {}
        self._lock = threading.Lock()
        if places is not None and len(places) != self._count:
            told = f"places of {len(places):,} ids for {self._count:,} rows"
            raise _damaged(file.with_name(PLACES), told)

    def __len__(self) -> int:
        return self._count

    def whole(self, name: str) -> pa.ChunkedArray:
        """A column; it is kept in memory from now on."""
        with self._lock:
            if name not in self._kept:
                starts = range(0, self._count, ROWS_AT_ONCE)
                parts = [self._read(name, slice(at, at + ROWS_AT_ONCE)) for at in starts]
                column = pa.chunked_array(parts or [self._read(name, slice(0, 0))])
                self._kept[name] = self._in_order(column)
            return self._kept[name]

    def taken(self, name: str, ids: Ids) -> pa.ChunkedArray:
        """Some rows of a column, in their order."""
        if name in self._kept or len(ids) > FEW:
            return self.whole(name).take(pa.array(ids, pa.int64()))
        places = ids if self._places is None else self._places[ids]
        wanted, back = np.unique(places, return_inverse=True)
        return pa.chunked_array([self._read(name, wanted).take(pa.array(back, pa.int64()))])

    def _in_order(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """By ids."""
        if self._places is None:
            return column
        try:
            return column.take(pa.array(self._places, pa.int64()))
        except pa.ArrowIndexError as error:
            raise _damaged(Path(self._where).with_name(PLACES), str(error)[:200]) from error

    def _read(self, name: str, rows: slice | Ids) -> pa.Array:
        """Rows of a column as they are stored; the library lets one thread read at a time."""
        column = self._sets[name]
        try:
            values = column[rows] if isinstance(rows, slice) or len(rows) else column[:0]
        except (OSError, IndexError, ValueError) as error:
            raise _damaged(Path(self._where), f"{name}: {error}"[:200]) from error
        if values.dtype.kind not in "OS":
            return pa.array(values)
        texts = pa.array(values.astype(object), pa.binary())
        try:
            return texts.cast(pa.string())
        except pa.ArrowInvalid:
            return texts


def place_of_rows(folder: Path, order: Callable[[], Ids]) -> Ids:
    """Where the row of each id stands in ``metadata_reordered.hdf5``.

    Args:
        folder: of the indices.
        order: computes it from the index, where no file says it.

    Raises:
        SchemaError: the file that says it is cut off.
    """
    file = folder / PLACES
    if not file.exists():
        return order()
    if file.stat().st_size % 8:
        raise _damaged(file, f"{file.stat().st_size:,} bytes")
    return np.memmap(file, np.int64, "r") if file.stat().st_size else np.empty(0, np.int64)


def _columns(file: Path) -> dict[str, Any]:
    """Data sets that the file itself holds; a link or an outer file could name any other."""
    try:
        import h5py
    except ImportError as error:
        raise SourceMissingError(
            str(file),
            "no library for HDF5",
            "h5py, or parquet files in the folder metadata",
            "Run: pip install 'clip-assets[hdf5]'",
        ) from error
    try:
        # Whoever makes the file anew finds it unlocked, and one that nobody can write is read.
        group: Any = h5py.File(file, "r", locking=False)[GROUP]
        own = [name for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]
        sets = {name: group[name] for name in own if isinstance(group[name], h5py.Dataset)}
        return {
            name: column
            for name, column in sets.items()
            if column.ndim == 1 and not (column.is_virtual or column.external)
        }
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, f"no group {GROUP!r} ({error})"[:200]) from error


def _damaged(file: Path, found: str) -> SchemaError:
    return SchemaError(
        str(file), found, "a whole file as clip-retrieval back writes it", "Copy it again."
    )
