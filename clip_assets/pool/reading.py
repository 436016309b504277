"""A pool's tables and vectors for people who compute with them.

A table is a kind of file that ``layout`` gives columns; what is read are the files of finished
keys, as their manifests list them, so a file that is being written is never seen. A table has
the columns of ``schemas``, and those that the settings add; a file that lacks one has nulls, and
columns that files of earlier releases have besides are left out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError
from clip_assets.layout import Artifact, Key
from clip_assets.pool.pool import Pool
from clip_assets.storage import vectors
from clip_assets.storage.vectors import Vectors

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation


def table_kinds() -> dict[str, Artifact[...]]:
    """Every table by its name, also those that are declared beside their stages."""
    return {kind.name: kind for kind in layout.ARTIFACTS if kind.schema is not None}


def dataset(pool: Pool, table: str) -> ds.Dataset:
    """A table as an Arrow dataset: nothing is read before it is scanned.

    Args:
        pool: the pool.
        table: one of ``table_kinds``, such as ``unique`` or ``pool_rows``.

    Raises:
        ConfigurationError: there is no table of that name.
    """
    kinds = table_kinds()
    if table not in kinds:
        raise ConfigurationError(
            "table", repr(table), f"one of {', '.join(kinds)}", "See docs/layout.md."
        )
    kind = kinds[table]
    schema = _schema(pool, kind)
    paths = [f"{pool.store.base}/{path}" for path in _files(pool, kind)]
    if not paths:
        return ds.dataset(schema.empty_table())
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=pool.store.fs)


def _schema(pool: Pool, kind: Artifact[...]) -> pa.Schema:
    """Columns of a table in this pool."""
    assert kind.schema is not None
    is_of_pairs = kind.schema is schemas.PAIRS
    return schemas.pairs(pool.settings.sources.promoted) if is_of_pairs else kind.schema


def relation(pool: Pool, table: str) -> "DuckDBPyRelation":
    """A table as a relation of DuckDB's default connection, filtered and projected as it is read.

    Raises:
        ConfigurationError: there is no table of that name.
    """
    import duckdb

    return duckdb.from_arrow(dataset(pool, table))


def embeddings(pool: Pool, side: str = "image") -> Iterator[tuple[Key, Vectors]]:
    """The vectors of each embedded partition, (n, dim) float16, memory-mapped.

    An array is valid until the next one is asked for. Row i is described by row i of the
    partition's ``embedding_rows``.

    Args:
        pool: the pool.
        side: ``image`` or ``text``.

    Raises:
        ConfigurationError: there is no such side.
    """
    if side not in layout.SIDES:
        raise ConfigurationError("side", repr(side), "image or text", "Choose one.")
    kind = layout.img_emb if side == "image" else layout.text_emb
    pool.catalog.preload(layout.EMBEDDINGS, pool.partitions)
    for partition in pool.partitions:
        made = pool.catalog.get(layout.EMBEDDINGS, partition)
        # A partition without samples left no vectors.
        for output in made.of_kind(kind) if made else []:
            with vectors.opened(pool.store, output.path) as array:
                yield partition, array


def _files(pool: Pool, kind: Artifact[...]) -> list[str]:
    """Files of a kind that finished keys have, in the pool's order."""
    keys = pool.keys(pool.assets[kind.made_by].axis)
    pool.catalog.preload(kind.made_by, keys)
    manifests = (pool.catalog.get(kind.made_by, key) for key in keys)
    return [output.path for made in manifests if made for output in made.of_kind(kind)]
