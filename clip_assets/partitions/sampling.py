"""How many rows a source file has, without reading it: parquet footers and text samples."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SourceError
from clip_assets.files.footers import MAX_FOOTER_BYTES, footer_bytes
from clip_assets.files.identity import File
from clip_assets.files.opening import has_ranges, opened
from clip_assets.files.packed import MARK_BYTES, Codec, codec_of
from clip_assets.partitions.listing import file_format

SAMPLE_BYTES = 256 * 1024
"""Of a text file that are read; one small read of a remote file."""

AT_ONCE = 16
"""Files that are looked into at once."""

_TEXT_BYTES = 16 * SAMPLE_BYTES
_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of a file.

    Args:
        rows: the exact number, where the format tells.
        estimated_rows: the same, or from the length of the first lines.
        row_groups: rows of each row group; empty for a file that is read whole.
    """

    rows: int | None
    estimated_rows: int
    row_groups: tuple[int, ...] = ()


def size(source: File) -> Size | None:
    """Rows of a file, or None when it cannot be opened or is not what its name says.

    That is told when its partition is read, so that one broken file does not keep others
    from being planned. None too for a parquet file whose end cannot be had alone.
    """
    suffix, compression = file_format(source.uri)
    try:
        with opened(source.uri) as file:
            if suffix == ".parquet":
                return _footer(file) if has_ranges(source.uri) else None
            return Size(None, _lines(file, source.size_bytes, compression))
    except (SourceError, EOFError, pa.ArrowException):
        return None


def sizes(sources: Sequence[File]) -> list[Size | None]:
    """``size`` of many files, side by side: remote ones are mostly waited for."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(size, sources))


def _footer(file: IO[bytes]) -> Size | None:
    if footer_bytes(file) > MAX_FOOTER_BYTES:
        return None
    footer = pq.ParquetFile(file).metadata
    groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
    return Size(footer.num_rows, footer.num_rows, groups)


def _lines(file: IO[bytes], size_bytes: int, compression: str) -> int:
    read = file.read(SAMPLE_BYTES)
    codec = codec_of(read[:MARK_BYTES], compression)
    text = _decompressed(read, codec) if codec else read
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    return max(1, round(lines * max(1.0, size_bytes / len(read)))) if text else 0


def _decompressed(start: bytes, codec: Codec) -> bytes:
    """The text at the start of a compressed file, as much as there is in the bytes at hand."""
    text = bytearray()
    with pa.input_stream(pa.py_buffer(start), compression=codec) as stream, suppress(OSError):
        # Small reads, because the one that meets the end of the bytes yields nothing.
        while len(text) < _TEXT_BYTES and (chunk := stream.read(_READ_BYTES)):
            text += chunk
    return bytes(text)
