"""What tells a file from its successor of the same name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceChangedError
from clip_assets.files.faults import refuse_special, translated
from clip_assets.files.filesystem import filesystem, uri_of

Info = dict[str, Any]
"""What a file system says of one file."""

_TAGS = (
    "etag",
    "ETag",
    "md5Hash",
    "crc32c",
    "checksum",
    "blob_id",
    "xet_hash",
    "Content-MD5",
    "Digest",
)
_TIMES = (
    "LastModified",
    "Last-Modified",
    "updated",
    "last_modified",
    "mtime",
    "modified",
    "created",
)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when somebody looked.

    Args:
        uri: absolute path of a local file, url of any other.
        size_bytes: 0 where the server does not tell.
        etag: changes when the content does: size and time for a local file, else the
            strongest of what the file system offers. Empty if it was listed and not there.
    """

    uri: str
    size_bytes: int
    etag: str

    @property
    def is_tagged(self) -> bool:
        """Whether more than its size tells it from another."""
        return not self.etag.endswith("-")

    @property
    def is_gone(self) -> bool:
        """Whether it was listed and not there, like a link that leads nowhere."""
        return not self.etag


def looked_at(uri: str) -> File:
    """One file as it is now.

    Raises:
        SourceMissingError: it is not there.
        SourceError: it cannot be looked at.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        # The hub's back end keeps listings whatever it is asked to.
        fs.invalidate_cache()
        return described(fs, path)


def unchanged(before: File) -> File:
    """A file as it is now, if it is still the one that it was.

    Raises:
        SourceChangedError: it is another one.
        SourceMissingError: it is not there.
        SourceError: it cannot be looked at.
    """
    now = looked_at(before.uri)
    if now != before:
        raise SourceChangedError(
            before.uri,
            f"{now.size_bytes:,} bytes, version {now.etag}",
            f"{before.size_bytes:,} bytes, version {before.etag}, as planned",
            "Put the file back, or take it under another name.",
        )
    return now


def described(fs: fsspec.AbstractFileSystem, path: str, listed: Info | None = None) -> File:
    """A file, by what a listing said of it; asked for where that says too little."""
    if isinstance(fs, LocalFileSystem):
        refuse_special(path)
        stat = Path(path).stat()
        return File(path, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")
    info: Info = listed if listed and listed.get("size") is not None else fs.info(path)
    size = int(info.get("size") or 0)
    tags = [str(info[tag]) for tag in (*_TAGS, *_TIMES) if info.get(tag)]
    return File(uri_of(fs, path), size, f"{size}-{tags[0] if tags else ''}")
