"""Which pairs of a pool are meant by uids and urls, and where their samples lie.

Partitions are gone through one at a time, by their metadata, or by their unique pairs where there
are none yet.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.pool.takedowns import TakenDown
from clip_assets.storage import tables

FOUND = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("partition", pa.string(), nullable=False),
        pa.field("shard", pa.string()),
    ]
)
"""A row for each pair; ``shard`` is null where it has no sample, or that is not known yet."""


def found(pool: Pool, wanted: TakenDown) -> pa.Table:
    """The pairs of a pool that a table of takedowns means.

    Returns:
        Of ``FOUND``, in the order of partitions.

    Raises:
        MissingArtifactError: a table that should be there is not.
        SchemaError: a uid of the pool is none.
    """
    parts = [_of(pool, key, wanted) for key in pool.partitions]
    return pa.concat_tables([FOUND.empty_table(), *parts])


def _of(pool: Pool, key: Key, wanted: TakenDown) -> pa.Table:
    made, kind, names = pool.catalog.get(layout.POOL_METADATA, key), layout.pool_rows, ["shard"]
    if made is None:
        made, kind, names = pool.catalog.get(layout.UNIQUE_PAIRS, key), layout.unique, []
    if made is None:
        return FOUND.empty_table()
    with tables.local(pool.store, made, kind) as file:
        table = pq.read_table(file, columns=["uid", "url", *names])
    table = table.filter(pa.array(wanted.mask(table["uid"], table["url"])))
    table = table.append_column("partition", pa.array(np.repeat(key, len(table)), pa.string()))
    return tables.conform(tables.filled(table, FOUND), FOUND, str(key))
