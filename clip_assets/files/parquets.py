"""Parquet files of strangers behind paths and urls.

What is in them is the business of others; those of a pool are read by ``storage.tables``.
"""

from collections.abc import Generator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceFormatError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem
from clip_assets.files.opening import opened


@contextmanager
def opened_parquet(uri: str) -> Generator[pq.ParquetFile]:
    """A parquet file, for the time of the block.

    Args:
        uri: path or url.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there;
            ``SourceFormatError``: it is no parquet file, or a damaged one.
    """
    fs, path = filesystem(uri)
    try:
        with (
            translated(uri),
            opened(uri) as content,
            # Arrow reads a local file by itself; what comes by way of Python is copied first.
            pq.ParquetFile(path if isinstance(fs, LocalFileSystem) else content) as file,
        ):
            yield file
    except pa.ArrowInvalid as error:
        told = str(error).partition("\n")[0]
        raise SourceFormatError(
            uri, told, "a parquet file", "Remove it, or fetch it again."
        ) from error
