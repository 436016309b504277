"""A partition's files, written in one pass over its rows.

Where the rows come from is the business of ``direct`` and ``staging``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets import schemas
from clip_assets.pairs.rejects import TEXT_BYTES, Rejects
from clip_assets.pairs.relations import extra_column
from clip_assets.storage import tables
from clip_assets.storage.sql import Database

_KEYS_ROW_GROUP_ROWS = 16_384
# So that a slice of the keys of many partitions reads little beyond itself.

_HALF = 64
_LOW_HALF = (1 << _HALF) - 1
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_HEX = np.stack(
    [_DIGITS[(np.arange(1 << 16) >> shift) & 15] for shift in (12, 8, 4, 0)], axis=1
).view(np.uint32)[:, 0]
# The four digits of two bytes, as they stand in memory.


class NotCleanError(Exception):
    """Some row is no pair, or cannot be read, where all should be pairs."""


@dataclass(frozen=True, slots=True)
class PairRows:
    """What to read a partition's rows from.

    Args:
        queries: one after the other, each with columns of ``relations.rows_of``.
        extras: names of further columns, in order.
        promoted: those that are columns of their own.
        all_pairs: whether anything else among them, or an error, means that the sources
            have to be read with more care.
    """

    queries: Sequence[str]
    extras: Sequence[str]
    promoted: Sequence[str] = ()
    all_pairs: bool = False

    @property
    def schema(self) -> pa.Schema:
        """Columns of the partition's ``raw``, the same in all partitions of a pool."""
        return schemas.pairs(self.promoted)

    @property
    def names(self) -> list[str]:
        """What the queries call the columns of ``schema``."""
        own = dict(zip(self.promoted, map(extra_column, self.promoted), strict=True))
        return [own.get(name, name) for name in self.schema.names]


class Outputs:
    """Takes a partition's rows apart: into pairs, keys, rejects and counts.

    Args:
        database: an empty one of the partition, which bounds memory.
    """

    def __init__(self, database: Database) -> None:
        self.rejects = Rejects(database)
        self.kept = 0
        self._database = database
        self._keys = database.cursor()
        self._keys.execute("CREATE TABLE keys (hi UBIGINT, lo UBIGINT, row BIGINT)")
        self._misfits = np.zeros(len(schemas.CANONICAL), np.int64)

    def write_rows(self, part: Path, rows: PairRows) -> None:
        """Every pair in canonical columns, then what else is said of it.

        Raises:
            NotCleanError: see ``PairRows.all_pairs``.
        """
        pairs = (batch for query in rows.queries for batch in self._pairs(query, rows))
        groups = tables.regrouped(pairs, tables.ROW_GROUP_ROWS)
        tables.write_batches(part, rows.schema, groups)

    def write_keys(self, part: Path) -> None:
        """The distinct keys, sorted, each with the first row that has it."""
        reader = self._keys.sql("SELECT * FROM keys ORDER BY hi, lo, row").to_arrow_reader(
            _KEYS_ROW_GROUP_ROWS
        )
        groups = tables.regrouped(_distinct(reader), _KEYS_ROW_GROUP_ROWS)
        tables.write_numbers(part, schemas.PAIR_KEYS, groups)

    @property
    def misfits(self) -> dict[str, int]:
        """Values that became null because they do not fit, by canonical column."""
        pairs = zip(schemas.CANONICAL.names, self._misfits.tolist(), strict=True)
        return {name: count for name, count in pairs if count}

    def _pairs(self, query: str, rows: PairRows) -> Iterator[pa.RecordBatch]:
        """The pairs among the rows of a query; everything else of them is noted."""
        for batch in self._read(query, rows):
            self._count_misfits(batch.column("misfits"))
            reasons = batch.column("reason")
            kept = batch
            if reasons.null_count < batch.num_rows:
                self._reject(batch.filter(reasons.is_valid()), rows)
                kept = batch.filter(reasons.is_null())
            digests = _digests(kept)
            self._add_keys(digests)
            yield _canonical(kept, rows, digests)

    def _read(self, query: str, rows: PairRows) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._database.sql(
                f"SELECT * EXCLUDE (digest), (digest & {_LOW_HALF}::UHUGEINT)::UBIGINT AS head,"
                f" (digest >> {_HALF})::UBIGINT AS tail FROM ({query})"
            ).to_arrow_reader(tables.ROW_GROUP_ROWS)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if rows.all_pairs:
                raise NotCleanError from error
            raise

    def _count_misfits(self, misfits: pa.Array) -> None:
        bits = misfits.to_numpy()
        bits = bits[bits != 0]
        if len(bits):
            places = np.arange(len(self._misfits))
            self._misfits += ((bits[:, np.newaxis] >> places) & 1).sum(axis=0)

    def _reject(self, batch: pa.RecordBatch, rows: PairRows) -> None:
        if rows.all_pairs:
            raise NotCleanError
        text = f"concat(url[:{TEXT_BYTES}], ' ', caption[:{TEXT_BYTES}])"
        self.rejects.add(pa.Table.from_batches([batch]), text)

    def _add_keys(self, digests: npt.NDArray[np.uint64]) -> None:
        hi, lo = digests.byteswap().T
        rows = np.arange(self.kept, self.kept + len(digests))
        table = pa.table([pa.array(hi), pa.array(lo), pa.array(rows)], schema=schemas.PAIR_KEYS)
        self._keys.register("batch", table)
        self._keys.execute("INSERT INTO keys SELECT * FROM batch")
        self._keys.unregister("batch")
        self.kept += len(digests)


def _digests(batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """(n, 2); the bytes of row i are its md5."""
    halves = [batch.column(name).to_numpy() for name in ("head", "tail")]
    return np.stack(halves, axis=1).astype("<u8")


def _canonical(
    batch: pa.RecordBatch, rows: PairRows, digests: npt.NDArray[np.uint64]
) -> pa.RecordBatch:
    """The batch in the columns of ``raw``; those that no source has are null."""
    by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
    uids = by_name.get("uid")
    if uids is None:
        by_name["uid"] = _hex(digests)
    elif uids.null_count:
        by_name["uid"] = pc.coalesce(uids, _hex(digests))
    columns = [
        by_name[name] if name in by_name else pa.nulls(batch.num_rows, field.type)
        for name, field in zip(rows.names, rows.schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _hex(digests: npt.NDArray[np.uint64]) -> pa.Array:
    """Digests as text of 32 lowercase hexadecimal digits."""
    texts = _HEX[digests.view(">u2")]
    offsets = np.arange(0, 32 * (len(digests) + 1), 32, dtype=np.int32)
    content = pa.py_buffer(texts.tobytes())
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets.tobytes()), content)


def _distinct(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Sorted keys; of equal ones the first is left."""
    last = np.zeros((2, 0), np.uint64)
    for batch in batches:
        keys = np.stack([batch.column(name).to_numpy() for name in ("hi", "lo")])
        joined = np.concatenate([last, keys], axis=1)
        fresh = np.ones(batch.num_rows, np.bool_)
        fresh[batch.num_rows - joined.shape[1] + 1 :] = (joined[:, 1:] != joined[:, :-1]).any(
            axis=0
        )
        last = keys[:, -1:]
        yield batch.cast(schemas.PAIR_KEYS).filter(pa.array(fresh))
