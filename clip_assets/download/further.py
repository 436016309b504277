"""Columns of pairs that samples keep and that are no columns of the table: they are in its json.

How the json is written is said by ``schemas.FURTHER``.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import schemas
from clip_assets.errors import ConfigurationError

_NAMED_ROWS = 1000
# Rows that are looked through for names to propose.


class Further:
    """Values by name, from the column ``further`` of a table of pairs.

    Args:
        pairs: the table.
        wanted: names of columns; those that the table has are left to it.

    Raises:
        ConfigurationError: no row has anything under one of the names.
    """

    def __init__(self, pairs: pq.ParquetFile, wanted: Sequence[str]) -> None:
        present: pa.Schema = pairs.schema_arrow
        self._names = [name for name in wanted if name not in present.names]
        self.schema = pa.schema([*present, *(pa.field(name, pa.string()) for name in self._names)])
        lacking = _lacking(pairs, self._names) if pairs.metadata.num_rows else []
        if lacking:
            raise ConfigurationError(
                "download.save_additional_columns",
                ", ".join(lacking),
                f"columns of the partition's pairs: {', '.join([*present.names, *_some(pairs)])}",
                "Correct the spelling, or name the source's column in sources.columns; one that "
                "only some partitions have goes into sources.promoted.",
            )

    def stored(self, columns: Sequence[str]) -> list[str]:
        """Columns of the table to read, where these are asked for."""
        stored = [name for name in columns if name not in self._names]
        return [*stored, schemas.FURTHER.name] if self._names else stored

    def told(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of ``stored``, with a value for each name."""
        if not self._names:
            return row
        said = json.loads(row.pop(schemas.FURTHER.name) or "{}")
        return row | {name: said.get(name) for name in self._names}


def _lacking(pairs: pq.ParquetFile, names: Sequence[str]) -> list[str]:
    """Names that no row's json has."""
    lacking = list(names)
    if schemas.FURTHER.name not in pairs.schema_arrow.names:
        return lacking
    batches = pairs.iter_batches(columns=[schemas.FURTHER.name]) if names else ()
    for batch in batches:
        lacking = [name for name in lacking if not _has(batch.column(0), name)]
        if not lacking:
            break
    return lacking


def _has(column: pa.Array, name: str) -> bool:
    # Inside of a text a quote has a backslash before it, so this is a name.
    pattern = json.dumps(name, ensure_ascii=False) + ":"
    return pc.any(pc.match_substring(column, pattern)).as_py() is True


def _some(pairs: pq.ParquetFile) -> list[str]:
    """Names that the json of the first rows has."""
    if schemas.FURTHER.name not in pairs.schema_arrow.names:
        return []
    first = next(pairs.iter_batches(_NAMED_ROWS, columns=[schemas.FURTHER.name]))
    said = [json.loads(text) for text in first.column(0).to_pylist() if text]
    return sorted({name for row in said for name in row})
