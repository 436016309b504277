"""Source rows that are no pairs, gathered while a partition is read."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from clip_assets import schemas
from clip_assets.masking import encodable, masked
from clip_assets.storage import tables
from clip_assets.storage.sql import Database, literal

TEXT_BYTES = 500
"""Of a rejected row that are kept."""


class Rejects:
    """Rejected rows of one partition, in a table that spills to disk.

    Args:
        database: of the partition.
    """

    def __init__(self, database: Database) -> None:
        # A cursor of its own: rows may be added while the result of a query is read.
        self._database = database.cursor()
        self._database.execute(
            "CREATE TABLE rejects (source INTEGER, line BIGINT, reason VARCHAR, text VARCHAR)"
        )

    def add(self, rows: pa.Table, text: str = "text") -> None:
        """Append rows.

        Args:
            rows: columns ``source``, ``line``, ``reason`` and what ``text`` asks for.
            text: the rows as they were found, as SQL.
        """
        self._database.register("rejected", rows)
        self._database.execute(
            f"INSERT INTO rejects SELECT source, line, reason, {text} FROM rejected"
        )
        self._database.unregister("rejected")

    def by_reason(self) -> dict[str, int]:
        """How many rows there are for each reason."""
        counts = self._database.execute(
            "SELECT reason, count(*) FROM rejects GROUP BY reason ORDER BY reason"
        ).fetchall()
        return dict(counts)

    def write(self, part: Path, uris: Sequence[str]) -> None:
        """Write every row, by source and line, to an unpublished file."""
        names = ", ".join(
            f"({number}, {literal(masked(encodable(uri)))})"
            for number, uri in enumerate((*uris, ""))
        )
        reader = self._database.sql(
            "SELECT uri AS source, line, reason, text FROM"
            " (SELECT source AS number, line, reason, text, rowid AS place FROM rejects)"
            f" JOIN (VALUES {names}) AS uris(number, uri) USING (number)"
            " ORDER BY number, line, place"
        ).to_arrow_reader(tables.ROW_GROUP_ROWS)
        schema = schemas.REJECTS
        tables.write_batches(part, schema, (batch.cast(schema) for batch in reader))
