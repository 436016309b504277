"""The index of one tar: key or uid to the place of every member, as a table.

It is made once, from the headers, and kept; where, is said in ``indices``. Reading bytes by it is
the matter of ``ranges``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import schemas
from clip_assets.errors import SchemaError
from clip_assets.storage import tables
from clip_assets.webdataset.index import LINK, Place, Places, broken_off, index_tar
from clip_assets.webdataset.plain_index import PlainMembers, plain_members, reader_of

TAR_BYTES = b"tar_bytes"
"""In the metadata of a kept index: bytes of the tar that it is of."""

UidOf = Callable[[str, Place | None], str | None]
"""The uid of a sample by its key and the place of its json; None for one that has none."""


@dataclass(frozen=True)
class TarIndex:
    """Where everything is in one tar.

    Args:
        members: rows of ``schemas.TAR_INDEX``, in the tar's order.
        tar_bytes: size of the tar.
    """

    members: pa.Table
    tar_bytes: int

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """(n + 1,): sample i has the members from row ``starts[i]`` to ``starts[i + 1]``."""
        keys = self.members["key"].combine_chunks()
        differs = pc.not_equal(keys.slice(1), keys.slice(0, max(0, len(keys) - 1)))
        changes = np.flatnonzero(np.asarray(differs))
        ends = [len(keys)] if len(keys) else []
        return np.concatenate([[0], changes + 1, ends]).astype(np.int64)

    def __len__(self) -> int:
        """How many samples."""
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[Places]:
        """The places of one sample after the other, in the tar's order."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, sample: int) -> Places:
        """The places of the ``sample``-th sample."""
        start, stop = self.starts[sample], self.starts[sample + 1]
        return self._places(self.members.slice(start, stop - start).to_pylist())

    def sample(self, key: str) -> Places | None:
        """The sample of a key, the first if there are two; None if there is none."""
        return self._found("key", key)

    def sample_of(self, uid: str) -> Places | None:
        """The sample of a uid, the first if there are two; None if there is none."""
        return self._found("uid", uid)

    def uids(self) -> list[str | None]:
        """The uid of every sample."""
        return self.members["uid"].take(pa.array(self.starts[:-1], pa.int64())).to_pylist()

    def _found(self, column: str, value: str) -> Places | None:
        row = pc.index(self.members[column], pa.scalar(value, pa.string())).as_py()
        if row < 0:
            return None
        return self[int(np.searchsorted(self.starts, row, side="right")) - 1]

    @staticmethod
    def _places(rows: list[dict[str, Any]]) -> Places:
        places = Places(rows[0]["key"], {})
        for row in rows:
            if row["offset"] is None:
                places.elsewhere[row["extension"]] = LINK
            else:
                places.members[row["extension"]] = Place(row["offset"], row["size"])
        return places


class Entries:
    """Members one after the other, on their way into an index."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in schemas.TAR_INDEX.names}

    def add(self, uid: str | None, key: str, extension: str, place: Place | None) -> None:
        """Take one member; those of a sample follow each other.

        Args:
            uid: of the sample.
            key: likewise.
            extension: in lower case.
            place: None where the content is not in one piece of its own.
        """
        row = (uid, key, extension, place and place.offset, place and place.size)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def index(self, tar_bytes: int) -> TarIndex:
        """The index of a tar of so many bytes."""
        return TarIndex(pa.table(self._columns, schema=schemas.TAR_INDEX), tar_bytes)


def indexed(file: BinaryIO, where: str, uid_of: UidOf) -> TarIndex:
    """The index of a tar, by its headers.

    Args:
        file: the tar, at its start; it can seek.
        where: what to call it.
        uid_of: asked for every sample.

    Raises:
        SchemaError: the tar is damaged, or its end is missing.
    """
    members = plain_members(file)
    if members is not None:
        return TarIndex(_table(members, uid_of), file.seek(0, 2))
    file.seek(0)
    entries = Entries()
    for sample in index_tar(file, where):
        uid = uid_of(sample.key, sample.members.get("json"))
        for extension, place in sample.members.items():
            entries.add(uid, sample.key, extension, place)
        for extension in sample.elsewhere:
            entries.add(uid, sample.key, extension, None)
    return entries.index(file.seek(0, 2))


def _table(members: PlainMembers, uid_of: UidOf) -> pa.Table:
    """Rows of ``schemas.TAR_INDEX``."""
    starts = members.starts[:-1]
    of_sample = np.repeat(np.arange(len(starts)), np.diff(members.starts))
    jsons = np.flatnonzero(np.asarray(members.extension) == "json")
    places = map(Place, members.offset[jsons].tolist(), members.size[jsons].tolist())
    json_of = dict(zip(of_sample[jsons].tolist(), places, strict=True))
    keys = members.key.take(pa.array(starts, pa.int64())).to_pylist()
    uids = pa.array([uid_of(str(key), json_of.get(n)) for n, key in enumerate(keys)], pa.string())
    columns = [
        uids.take(pa.array(of_sample, pa.int64())),
        members.key,
        members.extension,
        pa.array(members.offset),
        pa.array(members.size),
    ]
    return pa.table(columns, schema=schemas.TAR_INDEX)


def uid_in_json(file: BinaryIO, where: str) -> UidOf:
    """Takes a sample's uid from the json in the tar."""
    read = reader_of(file)

    def uid_of(_: str, place: Place | None) -> str | None:
        if place is None:
            return None
        content = read(place.offset, place.size)
        if len(content) < place.size:
            raise broken_off(where, place.offset + len(content))
        try:
            said: Any = orjson.loads(content)
        except orjson.JSONDecodeError:
            return None
        uid = said.get("uid") if isinstance(said, dict) else None
        return uid if isinstance(uid, str) else None

    return uid_of


def write_index(part: Path, index: TarIndex) -> None:
    """Write an index to an unpublished file."""
    said = {TAR_BYTES: str(index.tar_bytes).encode()}
    tables.write(part, index.members.replace_schema_metadata(said))


def read_index(file: BinaryIO, where: str) -> TarIndex | None:
    """A kept index; None if the file is damaged or of another form.

    Args:
        file: as ``write_index`` wrote it.
        where: what to call it.
    """
    try:
        table = pq.read_table(file)
        tar_bytes = int((table.schema.metadata or {})[TAR_BYTES])
        return TarIndex(tables.conform(table, schemas.TAR_INDEX, where), tar_bytes)
    except (pa.ArrowException, SchemaError, KeyError, ValueError, OSError):
        return None
