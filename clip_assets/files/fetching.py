"""Remote files to a local disk, block by block.

A fetch that was cut off goes on with the next block, unless the server knows no ranges: such a
file is sent once, whole. A server that sends less or more than it announced, or nothing, is an
error and never a short file. Whether the file is still the one that was meant, its caller checks.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import fsspec

from clip_assets.errors import SourceError
from clip_assets.files.faults import faults, translated
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import File
from clip_assets.files.opening import has_ranges

T = TypeVar("T")

BLOCK_BYTES = 16 << 20
"""Of one request, and what a kill can lose."""

ATTEMPTS = 3
"""At each block, or at a file that is sent whole."""


def fetched(source: File, folder: Path) -> Path:
    """A complete local copy of a remote file.

    Args:
        source: the file; its etag is part of the copy's name.
        folder: where copies are.

    Raises:
        SourceError: the server fails, stalls, or sends another number of bytes.
    """
    name = hashlib.sha256(f"{source.uri} {source.etag}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    part, whole = folder / f"{name}.part", folder / name
    if whole.exists():
        return whole
    with translated(source.uri):
        fs, path = filesystem(source.uri)
        # Where the server does not tell the size, nothing says where the last block ends.
        if source.size_bytes and has_ranges(source.uri):
            _fetch_blocks(fs, path, source, part)
        else:
            tried(lambda: fs.get_file(path, str(part)))
            fetched = part.stat().st_size
            if source.size_bytes not in (0, fetched):
                raise _other_length(source, f"{fetched:,} bytes")
    return part.rename(whole)


def _fetch_blocks(fs: fsspec.AbstractFileSystem, path: str, source: File, part: Path) -> None:
    with part.open("ab") as target:
        # What a kill left of a block is fetched again.
        target.truncate(target.tell() // BLOCK_BYTES * BLOCK_BYTES)
        start = target.seek(0, 2)
        while start < source.size_bytes:
            stop = min(start + BLOCK_BYTES, source.size_bytes)
            start += target.write(_block(fs, path, source, start, stop))
            target.flush()


def _block(fs: fsspec.AbstractFileSystem, path: str, source: File, start: int, stop: int) -> bytes:
    content = tried(lambda: bytes(fs.cat_file(path, start=start, end=stop)))  # pyright: ignore[reportArgumentType]
    if len(content) != stop - start:
        got = f"{len(content):,} bytes where {start:,} to {stop:,} were asked for"
        raise _other_length(source, got)
    return content


def tried(request: Callable[[], T]) -> T:
    """What a request gives, sent again when the server or the network fails."""
    for _ in range(1, ATTEMPTS):
        try:
            return request()
        except FileNotFoundError:
            raise
        except faults():
            continue
    return request()


def _other_length(source: File, found: str) -> SourceError:
    return SourceError(
        source.uri,
        found,
        f"a file of {source.size_bytes:,} bytes",
        "The server lies about the length or cuts off; fetch the file by other means and add it.",
    )
