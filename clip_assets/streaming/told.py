"""What a pool's metadata say of its samples: scores and the like, by partition and number.

A partition's columns are read when one of its samples is first asked for, and kept.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, DamagedError
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.storage import tables

SUCCESS = "success"
"""Status of a pair that has a sample."""


def with_sample(table: pa.Table) -> pa.Table:
    """Those rows of pairs that have one."""
    return table.filter(pc.field("status") == SUCCESS)


class Told:
    """Some columns of pool metadata.

    Args:
        pool: whose.
        columns: of ``schemas.POOL_ROWS``.

    Raises:
        ConfigurationError: there is no such column, or one name stands alone.
    """

    def __init__(self, pool: Pool, columns: Sequence[str]) -> None:
        if isinstance(columns, str):
            raise ConfigurationError(
                "columns", repr(columns), "several names", f"Write [{columns!r}] for this one."
            )
        for name in columns:
            if name not in schemas.POOL_ROWS.names:
                known = ", ".join(schemas.POOL_ROWS.names)
                raise ConfigurationError("columns", repr(name), f"some of {known}", "Choose them.")
        self.columns = list(columns)
        self._pool = pool
        self._read: dict[PartitionKey, pa.Table] = {}

    def of(self, partition: PartitionKey, row: int, uid: object) -> dict[str, Any]:
        """The columns of one sample.

        Args:
            partition: whose.
            row: its number in the partition.
            uid: of the sample.

        Raises:
            MissingArtifactError: the partition has no metadata.
            DamagedError: they are of other samples than its tars have.
        """
        if partition not in self._read:
            self._read[partition] = self._table(partition)
        table = self._read[partition]
        if row >= len(table) or table["uid"][row].as_py() != uid:
            raise self._others(partition)
        return {name: table[name][row].as_py() for name in self.columns}

    def samples(self, partition: PartitionKey, columns: Sequence[str], count: int) -> pa.Table:
        """Some columns of a partition's samples, in the order of its tars.

        Raises:
            MissingArtifactError: the partition has no metadata.
            DamagedError: they are of other samples than so many that its tars have.
        """
        self._pool.catalog.require(layout.POOL_METADATA, partition)
        path = layout.pool_rows(partition)
        wanted = list(dict.fromkeys(["status", *columns]))
        table = with_sample(tables.read(self._pool.store, path, schemas.POOL_ROWS, wanted))
        if len(table) != count:
            raise self._others(partition)
        return table

    def _others(self, partition: PartitionKey) -> DamagedError:
        return DamagedError(
            self._pool.store.uri(layout.pool_rows(partition)),
            "metadata of other samples",
            "those of the partition's tars",
            f"Run: clip-assets run --select {layout.POOL_METADATA}",
        )

    def _table(self, partition: PartitionKey) -> pa.Table:
        self._pool.catalog.require(layout.POOL_METADATA, partition)
        path = layout.pool_rows(partition)
        # "status" chooses the rows, "uid" shows that they are the sample's.
        wanted = list(dict.fromkeys(["uid", "status", *self.columns]))
        table = tables.read(self._pool.store, path, schemas.POOL_ROWS, wanted)
        return with_sample(table).combine_chunks()
