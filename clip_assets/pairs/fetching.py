"""Remote files to a local disk, block by block.

A fetch that was cut off goes on with the next block; a server that sends less or more than it
announced, or nothing, is an error and never a short file. Whether the file is the planned one
is checked by ``opening``.
"""

import hashlib
from pathlib import Path

import fsspec

from clip_assets.errors import SourceError
from clip_assets.partitions.ledger import SourceRange
from clip_assets.partitions.remote import faults, filesystem, translated

BLOCK_BYTES = 16 << 20
"""Of one request, and what a kill can lose."""

ATTEMPTS = 3
"""At each block."""


def fetched(source: SourceRange, folder: Path) -> Path:
    """A complete local copy of a remote file.

    Args:
        source: the file; its version is part of the copy's name.
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
        if source.size_bytes:
            _fetch(fs, path, source, part)
        else:  # the server does not tell
            fs.get_file(path, str(part))
    return part.rename(whole)


def _fetch(fs: fsspec.AbstractFileSystem, path: str, source: SourceRange, part: Path) -> None:
    with part.open("ab") as target:
        # What a kill left of a block is fetched again.
        target.truncate(target.tell() // BLOCK_BYTES * BLOCK_BYTES)
        start = target.seek(0, 2)
        while start < source.size_bytes:
            stop = min(start + BLOCK_BYTES, source.size_bytes)
            start += target.write(_block(fs, path, source, start, stop))
            target.flush()


def _block(
    fs: fsspec.AbstractFileSystem, path: str, source: SourceRange, start: int, stop: int
) -> bytes:
    content = b""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            content = bytes(fs.cat_file(path, start=start, end=stop))  # pyright: ignore[reportArgumentType]
        except FileNotFoundError:
            raise
        except faults():
            if attempt == ATTEMPTS:
                raise
            continue
        if len(content) == source.size_bytes:
            # The server knows no ranges and sent everything.
            return content[start:stop]
        if len(content) == stop - start:
            return content
    raise SourceError(
        source.uri,
        f"{len(content):,} bytes where {start:,} to {stop:,} were asked for",
        f"a file of {source.size_bytes:,} bytes",
        "The server lies about the length or cuts off; fetch the file by other means and add it.",
    )
