"""Vectors that other tools keep in npy, npz or parquet files, by rows.

npy files are read where they lie, see ``storage.npy``; arrays of an npz file and columns of a
parquet file are loaded whole.
"""

import zipfile
from contextlib import ExitStack
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError
from clip_assets.files.faults import translated
from clip_assets.files.identity import File
from clip_assets.files.opening import HEAD_BYTES, opened
from clip_assets.storage.npy import Floats, NpyRows, header


class VectorRows(Protocol):
    """Vectors of one file."""

    rows: int
    dim: int

    def read(self, start: int, stop: int) -> Floats:
        """Rows from one on to before another, (m, dim) float32."""
        ...


class LoadedRows:
    """Vectors that are in memory.

    Args:
        vectors: (n, dim) of any float type.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self.rows, self.dim = vectors.shape

    def read(self, start: int, stop: int) -> Floats:
        """Rows from one on to before another, (m, dim) float32."""
        return self._vectors[start:stop].astype(np.float32)


def vector_rows(file: File, member: str, stack: ExitStack) -> VectorRows:
    """The vectors of a file.

    Args:
        file: whose name ends in npy, npz or parquet.
        member: array of an npz file, column of a parquet file.
        stack: what closes it.

    Raises:
        SchemaError: it has no such vectors, or is damaged.
        SourceError: it cannot be read.
    """
    if file.uri.endswith(".npy"):
        return NpyRows(file, stack)
    with translated(file.uri):
        if file.uri.endswith(".npz"):
            return LoadedRows(_array(file, member))
        return LoadedRows(_column(file, member))


def rows_in_npz(file: File, member: str) -> int:
    """Vectors of an array of an npz file, by its head.

    Raises:
        SchemaError: it has no such vectors, or is damaged.
        SourceError: it cannot be read.
    """
    with translated(file.uri), opened(file.uri, HEAD_BYTES) as content:
        try:
            with zipfile.ZipFile(content) as arrays:
                names = [name.removesuffix(".npy") for name in arrays.namelist()]
                if member not in names:
                    raise _wrong(file.uri, f"arrays {', '.join(names)}", f"one called {member}")
                with arrays.open(f"{member}.npy") as array:
                    return header(array, f"{file.uri} {member}")[0][0]
        except zipfile.BadZipFile as error:
            raise _wrong(file.uri, f"no npz file ({error})") from error


def _array(file: File, member: str) -> np.ndarray:
    try:
        with opened(file.uri) as content, np.load(content, allow_pickle=False) as arrays:
            array = arrays[member]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _wrong(file.uri, f"no array {member} ({error})") from error
    if array.ndim != 2 or array.dtype.kind != "f":
        raise _wrong(file.uri, f"{array.dtype} of shape {array.shape} in {member}")
    return array


def _column(file: File, member: str) -> np.ndarray:
    try:
        with opened(file.uri) as content:
            column = pq.read_table(content, columns=[member])[member].combine_chunks()
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        lengths = pc.list_value_length(array).drop_null().unique().to_pylist()
        if len(lengths) > 1:
            raise _wrong(file.uri, f"vectors of {lengths[0]} and of {lengths[1]} numbers")
        values = array.drop_null().flatten().to_numpy(zero_copy_only=False)  # pyright: ignore[reportAttributeAccessIssue]
        # A row without a vector is left out like one whose vector is not finite.
        width = int(lengths[0] or 0) if lengths else 0
        has_one = array.is_valid().to_numpy(zero_copy_only=False)
        rows = np.full((len(array), width), np.nan, np.float32)
        rows[has_one] = values.reshape(int(has_one.sum()), width)
    except (pa.ArrowException, KeyError) as error:
        raise _wrong(file.uri, f"no vectors in {member} ({error})") from error
    return rows


def _wrong(
    where: str, found: str, expected: str = "vectors of floats, all of one length"
) -> SchemaError:
    return SchemaError(where, found, expected, "Name what holds them.")
