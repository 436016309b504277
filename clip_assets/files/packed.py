"""Compressed files: told by their first bytes, whatever they are called.

Servers and buckets keep files compressed under plain names, and send files decompressed that are
called ``.gz``; so a name is only asked where the bytes say nothing. What is in a file belongs to
who reads it.
"""

import gzip
import tempfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from io import IOBase
from pathlib import Path
from typing import IO, Literal, TypeAlias, cast

import pyarrow as pa

from clip_assets.errors import SourceFormatError
from clip_assets.files.opening import opened

Codec: TypeAlias = Literal["gzip", "zstd", "brotli"]
"""Arrow's names of the compressions."""

CODECS: dict[str, Codec] = {".gz": "gzip", ".zst": "zstd", ".br": "brotli"}
"""Compressions by the suffix of a name."""

MAX_EXPANSION = 200
"""Decompressed bytes per compressed byte; text of pairs has 3 to 6, a bomb 1,000."""

MARK_BYTES = 4
"""By so many first bytes a compression is told."""

_LAYERS = 3
_CHUNK_BYTES = 1 << 20


def codec_of(start: bytes, suffix: str = "") -> Codec | None:
    """How a file is compressed, None if it is not.

    Args:
        start: its first ``MARK_BYTES``.
        suffix: of its name; it counts for a compression whose files have no mark.
    """
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    # A frame, or one that readers skip: parallel compressors begin with it.
    if start.startswith(b"\x28\xb5\x2f\xfd") or (
        start[1:MARK_BYTES] == b"\x2a\x4d\x18" and start[0] >> 4 == 5
    ):
        return "zstd"
    return "brotli" if CODECS.get(suffix) == "brotli" else None


@contextmanager
def unpacked(path: Path, suffix: str, uri: str) -> Generator[Path]:
    """A local file decompressed, as often as it was compressed; itself if it was not.

    Args:
        path: where it is.
        suffix: what its name says of compression.
        uri: its name for people.

    Raises:
        SourceFormatError: it is broken, or a bomb.
        SourceError: it cannot be read.
    """
    limit = _CHUNK_BYTES + MAX_EXPANSION * path.stat().st_size
    with ExitStack() as stack:
        for _ in range(_LAYERS):
            codec = codec_of(_start(path), suffix)
            if codec is None:
                break
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="clip-assets-"))
            copy = Path(folder, "source")
            with path.open("rb") as file, copy.open("wb") as target:
                _unpack(file, target, codec, limit, uri)
            path, suffix = copy, ""
        yield path


def _start(path: Path) -> bytes:
    with opened(str(path)) as file:
        return file.read(MARK_BYTES)


def is_packed(path: Path) -> bool:
    """Whether a local file is compressed, by its first bytes.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    return codec_of(_start(path)) is not None


def _unpack(file: IO[bytes], target: IO[bytes], codec: Codec, limit: int, uri: str) -> None:
    try:
        content = (
            gzip.GzipFile(fileobj=file)
            if codec == "gzip"
            else pa.input_stream(cast("IOBase", file), compression=codec)
        )
        while chunk := content.read(_CHUNK_BYTES):
            target.write(chunk)
            if target.tell() > limit:
                raise SourceFormatError(
                    uri,
                    f"more than {MAX_EXPANSION} times its size when decompressed",
                    "compressed text",
                    "Look at what it holds before adding it.",
                )
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        raise SourceFormatError(
            uri, str(error), f"a whole {codec} file", "Fetch it again, then add --refresh."
        ) from error
