"""The files of metadata in an index folder of clip-retrieval, as columns.

Which of them are read is said by ``opened``; those in HDF5 are the matter of ``folder_hdf5``, and
what columns mean that of ``folder_rows``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError, SourceMissingError

Ids = npt.NDArray[np.int64]

FORMS = ("", "arrow", "hdf5", "hdf5-reordered")
"""What may be said of a folder; nothing: parquet, or what there is instead."""

HDF5 = {"hdf5": "metadata.hdf5", "hdf5-reordered": "metadata_reordered.hdf5"}
"""Files that clip-retrieval's back makes of parquet files, beside their folder."""


class FolderColumns(Protocol):
    """Columns of as many rows as a folder has vectors.

    Attributes:
        names: of the columns, as they are there.
    """

    @property
    def names(self) -> Sequence[str]:
        """See the class."""
        ...

    def __len__(self) -> int: ...

    def whole(self, name: str) -> pa.ChunkedArray:
        """A column."""
        ...

    def taken(self, name: str, ids: Ids) -> pa.ChunkedArray:
        """Some rows of a column, in their order."""
        ...


def opened(folder: Path, form: str, order: Callable[[], Ids]) -> FolderColumns:
    """The metadata of an index folder.

    Args:
        folder: of the indices.
        form: one of ``FORMS``; an HDF5 file that is not there is not missed if parquet files are.
        order: gives, for each id, the place of its row where rows stand as in the index's lists.

    Raises:
        SourceMissingError: there are no files that can be read.
        SchemaError: one is damaged.
    """
    files = sorted(file for file in (folder / "metadata").rglob("*") if file.is_file())
    parquet = [file for file in files if file.suffix == ".parquet"]
    arrow = files if form == "arrow" else [file for file in files if file.suffix == ".arrow"]
    hdf5 = {kind: folder / name for kind, name in HDF5.items() if (folder / name).exists()}
    has_library = find_spec("h5py") is not None
    makers: list[Callable[[], FolderColumns]] = []
    if form in hdf5 and (has_library or not parquet):
        makers.append(partial(_hdf5, hdf5[form], form, order))
    if parquet and form != "arrow":
        makers.append(partial(ParquetColumns, parquet))
    if arrow:
        makers.append(partial(ArrowColumns, arrow))
    makers += [partial(_hdf5, file, kind, order) for kind, file in hdf5.items()]
    if not makers:
        raise SourceMissingError(
            str(folder / "metadata"),
            "no files of metadata",
            "parquet files, arrow files, or metadata.hdf5 beside that folder",
            "Name the folder that clip-retrieval index wrote.",
        )
    try:
        return makers[0]()
    except (pa.ArrowException, OSError) as error:
        told = str(error).partition("\n")[0][:200]
        raise SchemaError(str(folder), told, "whole files", "Copy them again.") from error


def _hdf5(file: Path, form: str, order: Callable[[], Ids]) -> FolderColumns:
    from clip_assets.retrieval.folder_hdf5 import Hdf5Columns, place_of_rows

    is_reordered = form == "hdf5-reordered"
    return Hdf5Columns(file, place_of_rows(file.parent, order) if is_reordered else None)


class ParquetColumns:
    """Columns of parquet files; they stay open, so a folder that is replaced is read to the end.

    Args:
        files: in the order of their rows.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [pq.ParquetFile(file, memory_map=True) for file in files]
        self.names = self._files[0].schema_arrow.names
        self._kept: dict[str, pa.ChunkedArray] = {}

    def __len__(self) -> int:
        return sum(file.metadata.num_rows for file in self._files)

    def whole(self, name: str) -> pa.ChunkedArray:
        """A column; it is kept in memory from now on."""
        if name not in self._kept:
            parts = [file.read(columns=[name]) for file in self._files]
            self._kept[name] = pa.concat_tables(parts, promote_options="permissive")[name]
        return self._kept[name]

    def taken(self, name: str, ids: Ids) -> pa.ChunkedArray:
        """See ``FolderColumns``."""
        return self.whole(name).take(pa.array(ids, pa.int64()))


class ArrowColumns:
    """Columns of arrow files, mapped.

    Args:
        files: in the order of their rows.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._mapped = pa.concat_tables(map(_mapped, files))
        self.names = self._mapped.column_names

    def __len__(self) -> int:
        return len(self._mapped)

    def whole(self, name: str) -> pa.ChunkedArray:
        """See ``FolderColumns``."""
        return self._mapped[name]

    def taken(self, name: str, ids: Ids) -> pa.ChunkedArray:
        """See ``FolderColumns``."""
        return self._mapped[name].take(pa.array(ids, pa.int64()))


def _mapped(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file), "r")).read_all()
