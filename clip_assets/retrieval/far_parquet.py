"""A parquet file in a bucket or behind a web server: what is wanted of it is asked for at once.

Arrow reads a file of Python's range after range, each of which waits for the server.
"""

import io
import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SourceChangedError
from clip_assets.files import far_ranges
from clip_assets.files.far_ranges import FarStretch
from clip_assets.files.footers import MAX_FOOTER_BYTES, footer_bytes

TAIL_BYTES = 192 << 10
"""Of a file that are read first: the footer of a partition of 100,000 rows, in one range."""

_END_BYTES = 8


class FarParquet:
    """Row groups of a parquet file elsewhere. Threads may share it.

    The footer is kept compressed, 28 kB where it has 150 kB and Arrow needs 1.1 MB to hold it; it
    is read anew, in milliseconds, for each use.

    Args:
        uri: of the file.

    Raises:
        SourceError: it cannot be read.
        pa.ArrowInvalid: it is no parquet file.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        end = far_ranges.tail(uri, TAIL_BYTES)
        self._size = end.size_bytes
        length = footer_bytes(io.BytesIO(end.content)) + _END_BYTES
        if length > min(self._size, MAX_FOOTER_BYTES):
            raise pa.ArrowInvalid(f"a footer of {length:,} bytes")
        footer = end.content
        if length > len(footer):
            [start] = far_ranges.read(uri, [(self._size - length, self._size - len(footer))])
            footer = start.content + footer
        self._end = end._replace(content=b"")
        self._footer = zlib.compress(footer[-length:], 1)
        _ = self.metadata  # it is a footer

    @property
    def size_bytes(self) -> int:
        """That it takes in memory."""
        return len(self._footer) + len(self._uri)

    @property
    def metadata(self) -> pq.FileMetaData:
        """Its footer, not kept."""
        return pq.read_metadata(pa.BufferReader(zlib.decompress(self._footer)))

    def read_row_groups(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Some columns of some row groups.

        Raises:
            SourceChangedError: the file is another one by now, as far as the server tells.
            SourceError: it cannot be read.
        """
        metadata = self.metadata
        ranges = _joined(sorted(_chunks(metadata, groups, set(columns))))
        stretches = far_ranges.read(self._uri, ranges)
        for stretch in stretches:
            self._check_same(stretch)
        known: Any = _Stretches(self._size, ranges, [stretch.content for stretch in stretches])
        with pq.ParquetFile(pa.PythonFile(known, "r"), metadata=metadata) as file:
            return file.read_row_groups(list(groups), columns=list(columns))

    def _check_same(self, stretch: FarStretch) -> None:
        if not stretch.is_of(self._end):
            raise SourceChangedError(
                self._uri,
                f"{stretch.size_bytes:,} bytes, version {stretch.etag}",
                f"{self._size:,} bytes, version {self._end.etag}, as when it was opened",
                "Open it again.",
            )


def _chunks(
    metadata: pq.FileMetaData, groups: Sequence[int], columns: set[str]
) -> list[tuple[int, int]]:
    """From where to where chunks of columns lie."""
    ranges: list[tuple[int, int]] = []
    for group in groups:
        told = metadata.row_group(group)
        for number in range(told.num_columns):
            chunk = told.column(number)
            if chunk.path_in_schema.partition(".")[0] in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                ranges.append((start, start + chunk.total_compressed_size))
    return ranges


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges, ascending, of which neighbours are one."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start - joined[-1][1] <= far_ranges.NEIGHBOUR_BYTES:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


class _Stretches:
    """A file of which some stretches are known, and no other is asked for."""

    def __init__(
        self, size: int, ranges: Sequence[tuple[int, int]], stretches: Sequence[bytes]
    ) -> None:
        self._size, self._at, self.closed = size, 0, False
        self._stretches = [(start, s) for (start, _), s in zip(ranges, stretches, strict=True)]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = origin[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        for start, stretch in self._stretches:
            own = self._at - start
            if own >= 0 and own + size <= len(stretch):
                self._at += size
                return stretch[own : own + size]
        raise OSError(f"bytes {self._at:,} to {self._at + size:,} were not asked for")

    def close(self) -> None:
        self.closed = True
