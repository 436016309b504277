"""One partition's rows between sources and store: a DuckDB table that spills to disk.

Rows of any source are appended in canonical columns, with the reason where a row is no pair;
a source that turns out to be another than it seemed can be taken back. For reading sources see
``formats``, for the queries ``relations``; ``outputs`` writes the partition's files.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SourceFormatError
from clip_assets.pairs import columns, relations
from clip_assets.pairs.columns import MAX_VALUE_BYTES
from clip_assets.pairs.formats.batches import Batch
from clip_assets.pairs.formats.parquet import RowGroups
from clip_assets.pairs.outputs import PairRows
from clip_assets.pairs.rejects import TEXT_BYTES, Rejects
from clip_assets.pairs.relations import CsvFile, Relation, extra
from clip_assets.settings import SourceSettings
from clip_assets.storage.sql import Database

MAX_TEXT_BYTES = 1 << 30
MAX_EXPANSION = 20
"""Bounds on the text in a parquet file: this much, and this much for each byte of the file.
Pairs have 2 to 4 bytes for each; a file that has more repeats few values over and over."""


_WITH_CAPTIONS = f"""
SELECT rows.* REPLACE (coalesce(uid, md5({columns.PAIR})) AS uid), captions
FROM rows LEFT JOIN (
    SELECT min(rowid) AS first,
        list(DISTINCT caption ORDER BY caption) FILTER (caption IS NOT NULL) AS captions
    FROM rows WHERE reason IS NULL GROUP BY digest
) ON rows.rowid = first ORDER BY rows.rowid
"""


class Staging:
    """The rows of one partition, in source order.

    Args:
        database: an empty one of its own, which bounds memory.
        settings: further source column names, and what makes rows duplicates.
        rejects: takes what cannot be read as a row.
    """

    def __init__(self, database: Database, settings: SourceSettings, rejects: Rejects) -> None:
        self.database = database
        self.settings = settings
        self.rejects = rejects
        self.extras: dict[str, str] = {}
        self.repaired = 0
        self.left_out: dict[str, int] = {}
        typed = [f"{name} {columns.sql_type(name)}" for name in schemas.CANONICAL.names]
        typed += [f"{extra(name)} VARCHAR" for name in settings.promoted]
        database.execute(
            f"CREATE TEMP TABLE rows ({', '.join(typed)}, further VARCHAR, digest UHUGEINT,"
            " source INTEGER, line BIGINT, reason VARCHAR, misfits BIGINT)"
        )

    def rows(self) -> PairRows:
        """What was appended."""
        by_url = self.settings.duplicates == "url"
        query = _WITH_CAPTIONS if by_url else "SELECT * FROM rows"
        return PairRows([query], list(self.extras.values()), self.settings.promoted)

    def add_clean_csv(self, files: Sequence[CsvFile]) -> bool:
        """Append csv files, in order, unless anything is wrong with any of them.

        One statement appends them all: each would copy a part of a row group otherwise.

        Returns:
            Whether they were appended.

        Raises:
            SourceFormatError: one has no urls.
        """
        first = files[0].number
        relation = relations.of_csv(files, self.settings.columns)
        unwanted = f"source >= {first} AND reason IS NOT NULL"
        return self._try(relation, first, unwanted, files[0].where)

    def add_parquet(self, number: int, path: Path, row_groups: RowGroups, where: str) -> bool:
        """Append rows of a parquet file unless some text is too long or no UTF-8.

        Returns:
            Whether they were appended; False when they need the reader that copes with it.

        Raises:
            SourceFormatError: it has no urls, or too much in it for its size.
        """
        if not row_groups.is_plain:
            return False
        relation = relations.of_parquet(path, row_groups, self.settings.columns, where)
        try:
            self._refuse_bomb(relation, path.stat().st_size, where)
            is_added = self._try(relation, number, "false", where)
        except duckdb.OutOfMemoryException as error:
            raise _too_large(where, f"values that do not fit: {error}") from error
        except duckdb.Error:
            return False
        if is_added:
            self._leave_out(row_groups.names, row_groups.types, row_groups.count)
        return is_added

    def add_batch(self, number: int, batch: Batch, where: str) -> None:
        """Append rows of any other source.

        Raises:
            SourceFormatError: it has no urls.
        """
        self.repaired += batch.repaired
        if batch.rejects:
            self._add_rejects(number, batch)
        if batch.table.num_rows:
            self.database.register("batch", batch.table)
            relation = relations.of_batch("batch", batch, self.settings.columns, where)
            self._insert(relation, number, where)
            self.database.unregister("batch")
            self._leave_out(batch.names, batch.table.schema.types, batch.table.num_rows)

    def _leave_out(self, names: Sequence[str], types: Sequence[pa.DataType], rows: int) -> None:
        for name, kind in zip(names, types, strict=False):
            if relations.is_binary(kind):
                self.left_out[name] = self.left_out.get(name, 0) + rows

    def _insert(self, relation: Relation, number: int, where: str) -> None:
        columns.refuse_too_many({*self.extras, *map(str.casefold, relation.extras)}, where)
        for name in relation.extras:
            self.extras.setdefault(name.casefold(), name)
        settings = self.settings
        query = relations.rows_of(
            relation, number, settings.duplicates, settings.promoted, self.extras
        )
        self.database.execute(f"INSERT INTO rows BY NAME {query}")

    def _try(self, relation: Relation, number: int, unwanted: str, where: str) -> bool:
        """Append rows unless DuckDB refuses the file or some row is unwanted."""
        before = dict(self.extras)
        self.database.execute("BEGIN")
        try:
            self._insert(relation, number, where)
            if self._count(f"rows WHERE {unwanted}") == 0:
                self.database.execute("COMMIT")
                return True
        except duckdb.OutOfMemoryException:
            self.database.execute("ROLLBACK")
            raise
        except duckdb.Error:
            # Whatever it cannot do, the reader that copes with everything is next.
            pass
        self.database.execute("ROLLBACK")
        self.extras = before
        return False

    def _refuse_bomb(self, relation: Relation, size_bytes: int, where: str) -> None:
        """Stop before text that is stored once and stands in every row is spelled out."""
        lengths = [f"strlen({given.short(MAX_VALUE_BYTES)})" for given in relation.text_columns]
        total = " + ".join(f"coalesce(sum({length}), 0)" for length in lengths) or "0"
        decoded = self.database.execute(f"SELECT {total} FROM {relation.sql}").fetchall()[0][0]
        if decoded > MAX_TEXT_BYTES + MAX_EXPANSION * size_bytes:
            raise _too_large(where, f"{decoded:,} bytes of text in {size_bytes:,}")

    def _add_rejects(self, number: int, batch: Batch) -> None:
        table = pa.table(
            {
                "source": [number] * len(batch.rejects),
                "line": [reject.line for reject in batch.rejects],
                "reason": [reject.reason for reject in batch.rejects],
                "text": [reject.text[:TEXT_BYTES] for reject in batch.rejects],
            }
        )
        self.rejects.add(table)

    def _count(self, what: str) -> int:
        return int(self.database.execute(f"SELECT count(*) FROM {what}").fetchall()[0][0])


def _too_large(where: str, found: str) -> SourceFormatError:
    return SourceFormatError(
        where,
        found,
        f"at most {MAX_TEXT_BYTES:,} bytes, and {MAX_EXPANSION} for each byte of the file",
        "Look at what it holds; this is no table of pairs.",
    )
