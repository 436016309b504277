"""A folder of finished embeddings of any tool in clip-retrieval's layout, as one run of rows.

``img_emb/``, ``text_emb/`` and ``metadata/`` hold files whose order is that of their names; row i
of all of one side, of the other and of all metadata are of one sample. An index of them is made
in ``index.folder.folder_index``; the embeddings of a pool are the matter of ``index.vectors_in``.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import AlignmentError, SchemaError, SourceMissingError
from clip_assets.files.identity import File
from clip_assets.files.listing import listed
from clip_assets.files.opening import opened
from clip_assets.storage.npy import Floats, Ids, NpyRows

_NUMBER = re.compile(r"(?:^|[_\-./])(\d+)\.[^./]+$")

RUN_ROWS = 32
"""Rows of a sample that lie one after the other: a remote file is asked once for all of them."""

NEARLY_UNIT = 1e-2
"""Vectors whose length is so close to 1 are left as they are; others are scaled."""


class FolderVectors:
    """The vectors of one side, row after row through all files.

    Args:
        files: in order.
        stack: what closes them.

    Attributes:
        dim: of each.
        rows: how many.
        is_local: whether single rows cost little.

    Raises:
        SchemaError: one is no file of vectors, is cut off, or has vectors of another length.
    """

    def __init__(self, files: Sequence[File], stack: ExitStack) -> None:
        self.files = [NpyRows(file, stack) for file in files]
        self.dim = self.files[0].dim
        check_dims(self.files)
        self._last = self.files[0]
        self._ends = np.cumsum([file.rows for file in self.files])
        self.is_local = all(file.is_mapped for file in self.files)
        self.rows = int(self._ends[-1])

    def read(self, start: int, stop: int) -> Floats:
        """Rows from one on to before another, (m, dim) float32, as they are stored."""
        parts = [np.empty((0, self.dim), np.float32)]
        for file, end in zip(self.files, self._ends.tolist(), strict=True):
            first = end - file.rows
            if start < end and stop > first:
                # One file at a time: what is read ahead of a remote one is tens of MB.
                if self._last is not file:
                    self._last.release()
                    self._last = file
                parts.append(file.read(max(start, first) - first, min(stop, end) - first))
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def at(self, places: Ids) -> Floats:
        """Rows at ascending places; what lies one after the other is read at once."""
        rows = np.empty((len(places), self.dim), np.float32)
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for run in np.split(np.arange(len(places)), breaks):
            if len(run):
                rows[run] = self.read(int(places[run[0]]), int(places[run[-1]]) + 1)
        return rows


@dataclass(frozen=True, slots=True)
class Usable:
    """Vectors that can be found: finite ones with a direction, at length 1.

    Args:
        vectors: (m, dim).
        places: (m,) rows that they were, ascending.
        left_out: rows that are no vectors, by reason.
        scaled: of ``vectors``, how many had another length.
    """

    vectors: Floats
    places: Ids
    left_out: dict[str, int]
    scaled: int


def usable(rows: Floats) -> Usable:
    """What of some rows can be found."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows, axis=1)
    finite = np.isfinite(lengths)
    good = finite & (lengths > 0)
    left_out = {"not finite": int((~finite).sum()), "zero": int((finite & ~good).sum())}
    places = np.flatnonzero(good)
    kept, lengths = rows[places], lengths[places]
    others = np.abs(lengths - 1) > NEARLY_UNIT
    kept[others] /= lengths[others, None]
    return Usable(kept, places, left_out, int(others.sum()))


def draw(total: int, wanted: int, seed: int, run: int = 1) -> Ids:
    """About so many places of many, ascending, always so many of them one after the other."""
    if wanted >= total:
        return np.arange(total)
    chosen = np.random.default_rng(seed).choice(-(-total // run), -(-wanted // run), replace=False)
    places = (np.sort(chosen)[:, None] * run + np.arange(run)).reshape(-1)
    return places[places < total][:wanted]


def files_of(folder: str, ending: str) -> list[File]:
    """The files of a folder by their names, none if it is not there."""
    try:
        files = listed(folder, lambda name: name.endswith(ending), hidden=False)
    except SourceMissingError:
        return []
    return sorted((file for file in files if not file.is_gone), key=lambda file: file.uri)


def check_dims(files: Sequence[NpyRows]) -> None:
    """Make sure that vectors are as long in every file: of one side, or of both.

    Raises:
        SchemaError: they are not.
    """
    first = files[0]
    for file in files:
        if file.dim != first.dim:
            raise SchemaError(
                file.uri,
                f"vectors of {file.dim} dimensions",
                f"{first.dim}, as in {first.uri}",
                "Embed everything with one model; index each model's folder by itself.",
            )


def check_metadata(metadata: Sequence[File], sides: Sequence[FolderVectors]) -> None:
    """Make sure that metadata and every side have a row for each other's, file by file.

    Raises:
        AlignmentError: they do not.
        SchemaError: a file is no parquet.
    """
    counts = [(file.uri, _rows(file)) for file in metadata]
    every = [[(file.uri, file.rows) for file in side.files] for side in sides]
    groups = [group for group in (counts, *every) if group]
    first = groups[0]
    for other in groups[1:]:
        # With as many files they go together by name; else only the sums can be compared.
        if len(other) == len(first):
            check_numbers([name for name, _ in first], [name for name, _ in other])
            for (own, rows), (their, others) in zip(first, other, strict=True):
                _check_equal(own, rows, their, others)
        else:
            own, their = sum(rows for _, rows in first), sum(rows for _, rows in other)
            _check_equal(first[0][0], own, f"{other[0][0]} and the others", their)


def check_numbers(own: Sequence[str], theirs: Sequence[str]) -> None:
    """Make sure that files which go together by their order have the same numbers in their names.

    Files of as many rows tell nothing of one that is missing among others.

    Raises:
        AlignmentError: they have not.
    """
    for one, other in zip(own, theirs, strict=True):
        first, second = _NUMBER.search(one), _NUMBER.search(other)
        if first and second and int(first[1]) != int(second[1]):
            raise AlignmentError(
                one,
                f"number {first[1]}, beside {other}",
                "the same number in the names of files that belong together",
                "Copy the files that are missing, or leave out those of the same number.",
            )


def batches(metadata: Sequence[File]) -> Iterator[tuple[File, pa.Schema, Iterator[pa.RecordBatch]]]:
    """The rows of each file."""
    for file in metadata:
        with opened(file.uri) as content, pq.ParquetFile(content) as table:
            yield file, table.schema_arrow, table.iter_batches()


def _rows(file: File) -> int:
    try:
        with opened(file.uri) as content:
            return int(pq.read_metadata(content).num_rows)
    except pa.ArrowInvalid as error:
        raise SchemaError(
            file.uri, f"no parquet file ({error})", "one", "Copy or write it again."
        ) from error


def _check_equal(own: str, rows: int, their: str, others: int) -> None:
    if rows != others:
        raise AlignmentError(
            own,
            f"{rows:,} rows",
            f"{others:,}, as in {their}",
            "Embed that piece again, or leave its files out of all folders; what stands after it "
            "would be told by other rows.",
        )
