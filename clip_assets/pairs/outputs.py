"""A partition's files, written from its staged rows.

What is staged, and how it came there, is the business of ``staging``.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clip_assets import layout
from clip_assets.pairs.columns import PAIR_KEY
from clip_assets.pairs.relations import extra
from clip_assets.pairs.staging import TEXT_BYTES, Staging
from clip_assets.storage import tables
from clip_assets.storage.sql import identifier, literal

_ROW_GROUP_ROWS = 122_880
_KEYS_ROW_GROUP_ROWS = 16_384
# So that a slice of the keys of many partitions reads little beyond itself.


_WITH_CAPTIONS = """
rows LEFT JOIN (
    SELECT min(rowid) AS first,
        list(DISTINCT caption ORDER BY caption) FILTER (caption IS NOT NULL) AS captions
    FROM rows WHERE reason IS NULL GROUP BY key
) ON rows.rowid = first
"""


def write_rows(staging: Staging, part: Path) -> None:
    """Every pair in canonical columns, then the extra ones."""
    extras = "".join(f", {extra(name)} AS {identifier(name)}" for name in staging.extras.values())
    names = ", ".join(layout.PAIRS.names[1:])
    by_pair = staging.settings.duplicates == "pair"
    query = (
        f"SELECT coalesce(uid, {'key' if by_pair else PAIR_KEY}) AS uid, {names}{extras}"
        f"{'' if by_pair else ', captions'} FROM {'rows' if by_pair else _WITH_CAPTIONS}"
        f" WHERE reason IS NULL {'' if by_pair else 'ORDER BY rows.rowid'}"
    )
    reader = staging.database.sql(query).to_arrow_reader(_ROW_GROUP_ROWS)
    kept = [pa.field(name, pa.string()) for name in staging.extras.values()]
    captions = [] if by_pair else [layout.CAPTIONS]
    schema = pa.schema([*layout.PAIRS, *kept, *captions])
    tables.write_batches(part, schema, (batch.cast(schema) for batch in reader))


def write_keys(staging: Staging, part: Path) -> None:
    """The distinct keys, sorted, each with the first row that has it."""
    reader = staging.database.sql(
        "SELECT unhex(key) AS digest, row FROM (SELECT key, row_number() OVER () - 1 AS row"
        " FROM rows WHERE reason IS NULL) ORDER BY key, row"
    ).to_arrow_reader(_KEYS_ROW_GROUP_ROWS)
    # Digests do not compress.
    tables.write_batches(part, layout.PAIR_KEYS, _distinct(reader), "none")


def write_rejects(staging: Staging, part: Path, uris: Sequence[str]) -> None:
    """Every rejected row, by source and line."""
    names = ", ".join(f"({number}, {literal(uri)})" for number, uri in enumerate((*uris, "")))
    reader = staging.database.sql(
        "SELECT uri AS source, line, reason, text FROM ("
        " SELECT source AS number, line, reason, text, row_number() OVER () AS place"
        " FROM rejects UNION ALL SELECT source, line, reason,"
        f" concat(url[:{TEXT_BYTES}], ' ', caption[:{TEXT_BYTES}]), row_number() OVER ()"
        " FROM rows WHERE reason IS NOT NULL)"
        f" JOIN (VALUES {names}) AS uris(number, uri) USING (number)"
        " ORDER BY number, line, place"
    ).to_arrow_reader(_ROW_GROUP_ROWS)
    schema = layout.REJECTS
    tables.write_batches(part, schema, (batch.cast(schema) for batch in reader))


def _distinct(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Sorted digests as pairs of integers; of equal ones the first is left."""
    last = np.zeros((0, 2), np.uint64)
    for batch in batches:
        # The buffer of a binary column without nulls: 16 bytes for every row.
        content = batch.column("digest").buffers()[2]
        assert content is not None
        keys = np.frombuffer(memoryview(content), ">u8", 2 * batch.num_rows)
        keys = keys.astype(np.uint64).reshape(-1, 2)
        joined = np.concatenate([last, keys])
        fresh = np.ones(len(keys), np.bool_)
        fresh[len(keys) - len(joined) + 1 :] = (joined[1:] != joined[:-1]).any(axis=1)
        last = keys[-1:]
        rows = batch.column("row").to_numpy()
        kept = [keys[fresh, 0], keys[fresh, 1], rows[fresh]]
        yield pa.RecordBatch.from_arrays(list(map(pa.array, kept)), schema=layout.PAIR_KEYS)
