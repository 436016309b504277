"""The rows that subsets are chosen from: a pool's metadata, or a folder of DataComp's.

Both are read piece by piece, some columns at a time. What is chosen is the business of methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.errors import SchemaError, SourceMissingError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.storage import tables


class Candidates(Protocol):
    """Candidates that can be chosen from."""

    @property
    def pieces(self) -> Sequence[str]:
        """Names of what is read at a time, in order."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns that can be asked for."""
        ...

    @property
    def has_outcomes(self) -> bool:
        """Whether rows say if their image was had, and what reserves its use."""
        ...

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Some columns of a piece's rows, in their order.

        Raises:
            SchemaError: it lacks one.
        """
        ...


@dataclass(frozen=True)
class PoolRows:
    """Metadata of some partitions of a pool.

    Args:
        pool: the pool.
        partitions: those whose metadata are done.
    """

    pool: Pool
    partitions: Sequence[PartitionKey]
    schema: pa.Schema = schemas.POOL_ROWS
    has_outcomes: bool = True

    @property
    def pieces(self) -> Sequence[str]:
        """Its partitions."""
        return self.partitions

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Candidates of a partition; one without rows has no table."""
        made = self.pool.catalog.require(layout.POOL_METADATA, layout.Key(piece))
        for output in made.of_kind(layout.pool_rows):
            return tables.read(self.pool.store, output.path, self.schema, columns)
        return pa.schema([self.schema.field(name) for name in columns]).empty_table()


@dataclass(frozen=True)
class MetadataFolder:
    """A folder of DataComp's metadata: files whose names have ``.parquet`` in them.

    Args:
        uri: path or url.

    Raises:
        SourceMissingError: there is no such file.
        SourceError: it cannot be listed.
    """

    uri: str
    has_outcomes: bool = False

    @cached_property
    def pieces(self) -> Sequence[str]:
        """Its files."""
        with translated(self.uri):
            fs, folder = filesystem(self.uri)
            files = sorted(str(path) for path in fs.ls(folder, detail=False) if ".parquet" in path)
        if not files:
            raise SourceMissingError(
                self.uri, "no parquet file", "DataComp's metadata", "Name the folder they are in."
            )
        return files

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of its first file."""
        fs, _ = filesystem(self.uri)
        with translated(self.pieces[0]), fs.open(self.pieces[0], "rb") as file:
            return pq.read_schema(cast("IO[bytes]", file))

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Candidates of a file."""
        fs, _ = filesystem(self.uri)
        with translated(piece), fs.open(piece, "rb") as file:
            stored = pq.ParquetFile(cast("IO[bytes]", file))
            lacking = [name for name in columns if name not in stored.schema_arrow.names]
            if lacking:
                raise SchemaError(
                    piece,
                    f"columns {', '.join(stored.schema_arrow.names)}",
                    f"also {', '.join(lacking)}",
                    "Choose by columns that it has, or give the folder that has them.",
                )
            return stored.read(columns=columns)
