"""Vectors that other tools keep in npy, npz or parquet files, by rows.

npy files are read where they lie, see ``storage.npy``; arrays of an npz file and columns of a
parquet file are loaded whole.
"""

import zipfile
from contextlib import ExitStack
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError
from clip_assets.files.faults import translated
from clip_assets.files.identity import File
from clip_assets.files.opening import opened
from clip_assets.storage.npy import Floats, NpyRows


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
        if array.null_count:
            raise _wrong(file.uri, f"{array.null_count:,} rows without a vector in {member}")
        values = array.flatten().to_numpy(zero_copy_only=False)  # pyright: ignore[reportAttributeAccessIssue]
        return values.reshape(len(array), -1) if len(array) else np.empty((0, 0), np.float32)
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise _wrong(file.uri, f"no vectors of one length in {member} ({error})") from error


def _wrong(where: str, found: str) -> SchemaError:
    return SchemaError(
        where, found, "vectors of floats, all of one length", "Name what holds them."
    )
