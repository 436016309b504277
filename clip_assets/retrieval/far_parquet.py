"""A parquet file in a bucket or behind a web server: what is wanted of it is asked for at once.

Arrow reads a file of Python's range after range, each of which waits for the server.
"""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.files import far_ranges
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem


class FarParquet:
    """Row groups of a parquet file elsewhere. Threads may share it.

    Args:
        uri: of the file.

    Attributes:
        metadata: its footer.

    Raises:
        SourceError: it cannot be read.
        pa.ArrowInvalid: it is no parquet file.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        fs, path = filesystem(uri)
        with translated(uri):
            content: Any = fs.open(path, "rb", cache_type="none")
            with content, pq.ParquetFile(content) as file:
                self.metadata: pq.FileMetaData = file.metadata
                self._size: int = content.seek(0, io.SEEK_END)

    def read_row_groups(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Some columns of some row groups.

        Raises:
            SourceChangedError: the file has become shorter.
            SourceError: it cannot be read.
        """
        ranges = _joined(sorted(self._chunks(groups, set(columns))))
        known: Any = _Stretches(self._size, ranges, far_ranges.read(self._uri, ranges))
        with pq.ParquetFile(pa.PythonFile(known, "r"), metadata=self.metadata) as file:
            return file.read_row_groups(list(groups), columns=list(columns))

    def _chunks(self, groups: Sequence[int], columns: set[str]) -> list[tuple[int, int]]:
        """From where to where chunks of columns lie."""
        ranges: list[tuple[int, int]] = []
        for group in groups:
            told = self.metadata.row_group(group)
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
