"""Planned source files, verified and brought within reach.

A file that is gone or is not the one that was planned stops the partition here, before
anything of it is read. For what a file holds see ``formats``.
"""

import gzip
import tempfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from io import IOBase
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from clip_assets.errors import SourceChangedError, SourceFormatError
from clip_assets.files.fetching import fetched
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import opened
from clip_assets.partitions.ledger import SourceRange
from clip_assets.partitions.listing import file_format

MAX_EXPANSION = 200
"""Decompressed bytes per compressed byte; text of pairs has 3 to 6, a bomb 1,000."""

_CHUNK_BYTES = 1 << 20


def verify(source: SourceRange) -> None:
    """Compare a planned file with what is there now.

    Raises:
        SourceMissingError: it is gone.
        SourceChangedError: it is another one.
    """
    now = looked_at(source.uri)
    if (now.size_bytes, now.etag) != (source.size_bytes, source.etag):
        raise SourceChangedError(
            source.uri,
            f"{now.size_bytes:,} bytes, version {now.etag}",
            f"what was planned: {source.size_bytes:,} bytes, version {source.etag}",
            "Restore the file, or take it as it is now: clip-assets add --refresh <source>.",
        )


@contextmanager
def local(source: SourceRange, folder: Path) -> Generator[Path]:
    """A file as a local, decompressed one; a copy is removed with the block.

    Args:
        source: the file.
        folder: where a remote file is fetched to. A fetch that was cut off goes on from there.

    Raises:
        SourceError: it cannot be read.
        SourceFormatError: it is not compressed as its name says, or is a bomb.
    """
    compression = file_format(source.uri)[1]
    with ExitStack() as stack:
        path = Path(source.uri)
        if "://" in source.uri:
            path = fetched(source.file, folder)
            stack.callback(path.unlink)
        if compression:
            path = stack.enter_context(_decompressed(path, compression, source.uri))
        yield path


@contextmanager
def _decompressed(path: Path, compression: str, uri: str) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
        copy = Path(folder, "source")
        with opened(str(path)) as file, copy.open("wb") as target:
            _decompress(file, target, compression, uri)
        yield copy


def _decompress(file: IO[bytes], target: IO[bytes], compression: str, uri: str) -> None:
    try:
        text = (
            gzip.GzipFile(fileobj=file)
            if compression == ".gz"
            else pa.input_stream(cast("IOBase", file), compression="zstd")
        )
        while chunk := text.read(_CHUNK_BYTES):
            target.write(chunk)
            if target.tell() > _CHUNK_BYTES + MAX_EXPANSION * file.tell():
                raise SourceFormatError(
                    uri,
                    f"more than {MAX_EXPANSION} times its size when decompressed",
                    "compressed text",
                    "Look at what it holds before adding it.",
                )
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        raise SourceFormatError(
            uri, str(error), f"a whole {compression} file", "Fetch it again, then add --refresh."
        ) from error
