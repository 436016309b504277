"""What of samples is changed while they are copied: columns in their json, faces that are blurred.

Everything else of a sample stays byte for byte; without changes nothing of it is looked at.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import ConfigurationError, SchemaError, SourceFormatError
from clip_assets.files import opening
from clip_assets.files.listing import listed
from clip_assets.reshard.subset_file import WantedUids
from clip_assets.storage import uids
from clip_assets.webdataset import blurring

BOXES = "face_bboxes"
"""The column of boxes, as DataComp has them: shares of width and height."""

UID, JSON = "uid", "json"


@dataclass(frozen=True)
class Changes:
    """What is changed, for every wanted uid.

    Args:
        columns: that are put into the json of samples.
        blur: whether faces are blurred.
        table: rows of wanted uids, with these columns.
        row: (wanted uids,) row of each, -1 for one that has none.
    """

    columns: Sequence[str]
    blur: bool
    table: pa.Table
    row: npt.NDArray[np.int64]

    def digest(self) -> str:
        """Of everything that changed samples depend on."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as stream:
            stream.write_table(self.table.combine_chunks())
        told = json.dumps([*self.columns, self.blur]).encode() + self.row.tobytes()
        return hashlib.sha256(told + sink.getvalue().to_pybytes()).hexdigest()

    def digest_of(self, places: npt.NDArray[np.int64]) -> str:
        """Of everything that some samples depend on, by the places of their uids."""
        rows = self.row[places]
        table = self.table.take(pa.array(rows[rows >= 0], pa.int64()))
        told = [*self.columns, self.blur, (rows < 0).tolist(), table.to_pylist()]
        return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()

    def of(self, place: int, members: Mapping[str, bytes], where: str) -> dict[str, bytes]:
        """The members of a sample as they are written, by extension.

        Args:
            place: of its uid among the wanted ones.
            members: as the tar has them.
            where: the tar, for errors.

        Raises:
            SchemaError: its json is none, or its image cannot be read.
        """
        row = int(self.row[place])
        if row < 0:
            return dict(members)
        values = {name: self.table[name][row].as_py() for name in self.table.column_names}
        changed = dict(members)
        if self.columns:
            changed[JSON] = self._told(members.get(JSON, b"{}"), values, where)
        if self.blur and values[BOXES]:
            for extension in blurring.QUALITIES:
                if extension in members:
                    changed[extension] = self._blurred(
                        members[extension], extension, values[BOXES], where
                    )
        return changed

    def _told(self, content: bytes, values: Mapping[str, Any], where: str) -> bytes:
        try:
            told = json.loads(content)
        except ValueError as error:
            raise SchemaError(where, f"a json that is none: {error}", "json", "Mend it.") from error
        return json.dumps(told | {name: _plain(values[name]) for name in self.columns}).encode()

    def _blurred(self, content: bytes, extension: str, boxes: Any, where: str) -> bytes:
        blurred = blurring.blurred(content, extension, boxes, self._blur)
        if blurred is None:
            raise SchemaError(
                where, f"a {extension} that cannot be read", "an image", "Leave the sample out."
            )
        return blurred

    @cached_property
    def _blur(self) -> blurring.Blur:
        return blurring.blurrer()


def changes_of(
    wanted: WantedUids, files: Sequence[str], columns: Sequence[str], *, blur: bool
) -> Changes:
    """What is to be changed, from metadata by uid.

    Memory: the columns of wanted uids.

    Args:
        wanted: uids of the subset.
        files: parquets with ``uid``, paths or urls.
        columns: that go into the json.
        blur: whether faces are blurred, by ``face_bboxes``.

    Raises:
        SourceFormatError: a file lacks a column.
        ConfigurationError: faces are to be blurred, and some uid has no row that tells of them.
        SourceError: a file cannot be read.
    """
    asked: list[str] = list(dict.fromkeys([*columns, *([BOXES] if blur else [])]))
    row = np.full(len(wanted), -1, np.int64)
    parts: list[pa.Table] = []
    count = 0
    for uri in files:
        for table in _tables(uri, asked):
            places = wanted.places(uids.pairs(table[UID].cast(pa.string())))
            mine = np.flatnonzero(places >= 0)
            row[places[mine]] = np.arange(count, count + len(mine))
            count += len(mine)
            parts.append(table.select(asked).take(pa.array(mine, pa.int64())))
    if blur and (row < 0).any():
        raise ConfigurationError(
            files[0] if len(files) == 1 else f"{len(files):,} files of metadata",
            f"no row for {int((row < 0).sum()):,} of {len(wanted):,} uids",
            f"{BOXES} of each, so that no face is left as it is",
            "Name the metadata of all inputs.",
        )
    return Changes(columns, blur, pa.concat_tables(parts) if parts else pa.table({}), row)


def metadata_files(metadata: str) -> list[str]:
    """The files of metadata: a parquet's own, or those of a folder; path or url."""
    if metadata.endswith(".parquet"):
        return [metadata]
    return [file.uri for file in listed(metadata, lambda name: name.endswith(".parquet"))]


def _tables(uri: str, asked: Sequence[str]) -> Iterator[pa.Table]:
    try:
        with opening.opened(uri) as file:
            stored = pq.ParquetFile(file)
            lacking = {UID, *asked} - {*stored.schema_arrow.names}
            if lacking:
                raise SourceFormatError(
                    uri,
                    f"columns {', '.join(stored.schema_arrow.names)}",
                    f"also {', '.join(sorted(lacking))}",
                    "Name columns that it has, and metadata with uid.",
                )
            for batch in stored.iter_batches(columns=[UID, *asked]):
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise SourceFormatError(uri, str(error), "a parquet file", "Fetch it again.") from error


def _plain(value: Any) -> Any:
    """A value as json has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
