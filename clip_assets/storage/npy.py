"""Vectors of other tools: a npy file of any float type and order, local or behind a url, by rows.

The pool's own files are the matter of ``storage.vectors``, which knows their one form.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SchemaError
from clip_assets.files.faults import translated
from clip_assets.files.fetching import fetched
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import File
from clip_assets.files.opening import HEAD_BYTES, opened

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

TYPES = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")

_WRITE_IT = "Write it with numpy.save; a file that was cut off has to be copied again."


class NpyRows:
    """The rows of one file, read as they are asked for.

    A local file is mapped. Of a remote one ranges are read, unless its columns lie one after the
    other (Fortran order): then it is copied first.

    Args:
        file: which one, as a listing gives it.
        stack: what closes it.

    Attributes:
        rows: how many.
        dim: of each.
        is_mapped: whether single rows cost little.

    Raises:
        SchemaError: it is no two-dimensional array of floats, or is cut off.
        SourceError: it cannot be read.
    """

    def __init__(self, file: File, stack: ExitStack) -> None:
        self.uri = file.uri
        with translated(file.uri), opened(file.uri, HEAD_BYTES) as content:
            shape, is_columns, dtype, self._start = header(content, file.uri)
        self.rows, self.dim = shape
        self._type = dtype
        needed = self._start + self.rows * self.dim * dtype.itemsize
        if file.size_bytes < needed:
            raise _wrong(file.uri, f"{file.size_bytes:,} bytes", f"{needed:,}, as its head says")
        is_local = isinstance(filesystem(file.uri)[0], LocalFileSystem)
        self.is_mapped = is_local or is_columns
        self._mapped: npt.NDArray[np.floating] | None = None
        self._open = stack.enter_context(ExitStack())
        self._content: IO[bytes] | None = None
        if self.is_mapped:
            path = Path(file.uri) if is_local else _copied(file, stack)
            order = "F" if is_columns else "C"
            if self.rows and self.dim:
                self._mapped = np.memmap(path, dtype, "r", self._start, shape, order)

    def read(self, start: int, stop: int) -> Floats:
        """Rows from one on to before another, (m, dim) float32."""
        if self._mapped is not None:
            return np.ascontiguousarray(self._mapped[start:stop], dtype=np.float32)
        if self.is_mapped or not self.rows:
            return np.empty((0, self.dim), np.float32)
        width = self.dim * self._type.itemsize
        with translated(self.uri):
            if self._content is None:
                self._content = self._open.enter_context(opened(self.uri))
            self._content.seek(self._start + start * width)
            content = self._content.read((stop - start) * width)
        if len(content) < (stop - start) * width:
            raise _wrong(self.uri, f"an end before row {stop:,}", f"{self.rows:,} rows")
        rows = np.frombuffer(content, self._type).reshape(stop - start, self.dim)
        return rows.astype(np.float32)

    def release(self) -> None:
        """Give back what was read ahead of a remote file; a later read opens it again."""
        self._open.close()
        self._content = None


def header(content: IO[bytes], where: str) -> tuple[tuple[int, int], bool, np.dtype, int]:
    """Shape, whether it is in Fortran order, type of a number, and where the numbers begin.

    Raises:
        SchemaError: it is no two-dimensional array of floats.
    """
    try:
        version = np.lib.format.read_magic(content)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_columns, dtype = read(content)
    except (ValueError, KeyError, EOFError) as error:
        raise _wrong(where, f"no npy file ({error})", "one") from error
    if len(shape) != 2 or dtype.str not in TYPES:
        told = f"{dtype} of shape {shape}"
        raise _wrong(where, told, "float16, float32 or float64 of shape (n, dim)")
    return cast("tuple[int, int]", shape), is_columns, dtype, content.tell()


def _copied(file: File, stack: ExitStack) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="clip-assets-"))
    return fetched(file, Path(folder))


def _wrong(where: str, found: str, expected: str) -> SchemaError:
    return SchemaError(where, found, expected, _WRITE_IT)
