"""Tar indices that are kept: the one beside a shard, else one in the user's cache, else a new one.

The way to the index of any tar. A kept index counts only while the tar has the size, and in the
cache also the time or tag, that it had then; see docs/decisions/0035-tar-indices.md.
"""

import hashlib
import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.errors import SourceError, SourceMissingError
from clip_assets.files.faults import faults
from clip_assets.files.identity import File, looked_at
from clip_assets.files.opening import opened
from clip_assets.files.pinned import cache_folder
from clip_assets.storage.store import Store
from clip_assets.webdataset.tar_index import (
    TarIndex,
    UidOf,
    indexed,
    read_index,
    uid_in_json,
    write_index,
)

logger = logging.getLogger(__name__)

KEPT_BYTES = 8 << 30
"""Of indices in the user's cache: some of 20,000 tars of 10,000 samples."""


@dataclass(frozen=True, slots=True)
class Tar:
    """A tar, and what may be known of it.

    Args:
        uri: where it is.
        rows: a parquet file with ``key`` and ``uid`` of its samples, as img2dataset writes one.
        index: a tar index that was published with it.
    """

    uri: str
    rows: str = ""
    index: str = ""

    @classmethod
    def of_shard(cls, store: Store, partition: layout.PartitionKey, number: int) -> "Tar":
        """A shard of a pool."""
        files = (layout.shard_tar, layout.shard_rows, layout.tar_index)
        return cls(*(store.uri(file(partition, number)) for file in files))


def index_of(tar: Tar, *, anew: bool = False) -> TarIndex:
    """The index of a tar, kept or made.

    To make one, a local tar is read by its headers, and a remote one once, whole; without rows
    that have the uids, the json members are read too.

    Args:
        tar: which one.
        anew: whether a kept one is known to be of another tar.

    Raises:
        SourceMissingError: there is no such tar.
        SourceError: it cannot be read.
        SchemaError: it is damaged.
    """
    return index_of_file(tar, looked_at(tar.uri), anew=anew)


def index_of_file(tar: Tar, file: File, *, anew: bool) -> TarIndex:
    """Like ``index_of``, of a tar that was looked at."""
    if not anew and (index := kept_index_of(tar, file)):
        return index
    logger.debug("%s: its headers are read for an index", tar.uri)
    with opened(tar.uri) as file_like:
        content = cast("BinaryIO", file_like)
        index = indexed(content, tar.uri, _uid_of(tar, content))
    if file.is_tagged:
        _keep(_kept(file), index)
    return index


def kept_index_of(tar: Tar, file: File) -> TarIndex | None:
    """The index of a tar that was looked at, if it is kept anywhere."""
    for path in (tar.index, str(_kept(file)) if file.is_tagged else ""):
        index = _read(path) if path else None
        if index is not None and index.tar_bytes == file.size_bytes:
            return index
    return None


def kept_folder() -> Path:
    """Where indices of tars are kept that have none beside them; it may be emptied at any time."""
    return cache_folder() / layout.TAR_INDEX


def _kept(file: File) -> Path:
    name = hashlib.sha256(f"{file.uri} {file.etag}".encode("utf-8", "surrogateescape")).hexdigest()[
        :32
    ]
    return kept_folder() / f"{name}.parquet"


def _keep(path: Path, index: TarIndex) -> None:
    """Keep an index; without it, it is only made again."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_index(part, index)
        part.replace(path)
        if path.name.startswith("0"):  # one of sixteen, as looking at all takes its time
            _tidy(path.parent)
    except OSError as error:
        logger.warning("the index of a tar cannot be kept in %s: %s", path.parent, error)
        with suppress(OSError):
            part.unlink()


def _tidy(folder: Path) -> None:
    """Remove the indices that were made longest ago, until the others take ``KEPT_BYTES``."""
    with suppress(OSError):
        kept = [
            (file.stat().st_mtime, file.stat().st_size, file) for file in folder.glob("*.parquet")
        ]
        total = sum(size for _, size, _ in kept)
        for _, size, file in sorted(kept):
            if total <= KEPT_BYTES:
                return
            file.unlink(missing_ok=True)
            total -= size


def _read(path: str) -> TarIndex | None:
    """A kept index, None if there is none that can be used."""
    try:
        with opened(path) as file:
            return read_index(cast("BinaryIO", file), path)
    except SourceMissingError:
        return None
    except SourceError as error:
        logger.warning("a kept index of a tar cannot be read: %s", error)
        return None


def uids_in_rows(path: str) -> pa.Table | None:
    """Columns ``key`` and ``uid`` of the rows beside a tar; None where they are not told."""
    try:
        with opened(path) as file:
            table = pq.ParquetFile(file).read(["key", "uid"])
    except (SourceError, pa.ArrowException, *faults()):
        return None
    if set(table.column_names) != {"key", "uid"}:
        return None
    return table.cast(pa.schema([pa.field(name, pa.string()) for name in table.column_names]))


def _uid_of(tar: Tar, file: BinaryIO) -> UidOf:
    rows = uids_in_rows(tar.rows) if tar.rows else None
    if rows is None:
        return uid_in_json(file, tar.uri)
    texts = (rows[name].to_pylist() for name in ("key", "uid"))
    uids: dict[str | None, str | None] = dict(zip(*texts, strict=True))
    return lambda key, _: uids.get(key)
