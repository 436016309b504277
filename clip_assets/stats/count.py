"""Counts of one partition's pool rows, by DuckDB.

What is counted is said by ``summary``.
"""

from collections.abc import Sequence
from pathlib import Path

from clip_assets.stats.summary import (
    CAPTION_CLASSES,
    KEPT_VALUES,
    SCORE_BINS,
    SCORES,
    SIZE_CLASSES,
    Summary,
    frequent,
)
from clip_assets.storage import sql

MEMORY_BYTES = 1 << 29
"""Bound on DuckDB's memory; beyond it, it spills."""

_VALUE_CHARACTERS = 100

_HOST = r"regexp_extract(lower(url), '^[a-z]+://([^/?#]*@)?([^/:?#]+)', 2)"


def summarize(rows: Path) -> Summary:
    """Count the rows of a pool metadata file.

    Memory: ``MEMORY_BYTES``, and the file's distinct values.
    """
    with sql.connection(MEMORY_BYTES) as database:
        database.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet({sql.files([rows])})")
        shorter = "least(original_width, original_height)"
        return Summary(
            rows=int(database.execute("SELECT count(*) FROM rows").fetchall()[0][0]),
            status=_values(database, "status"),
            error_class=_values(database, "error_class"),
            nsfw=_values(database, "nsfw"),
            language=_values(database, "language"),
            license=_values(database, "license"),
            size=_classes(database, shorter, SIZE_CLASSES, f"{shorter} IS NOT NULL"),
            caption=_classes(database, "coalesce(length(text), 0)", CAPTION_CLASSES, "true"),
            domains=_values(database, _HOST),
            scores={
                name: bins
                for name, (low, high) in SCORES.items()
                if any(bins := _histogram(database, name, low, high))
            },
        )


def _values(database: sql.Database, value: str) -> dict[str, int]:
    counts = database.execute(
        f"SELECT coalesce(nullif({value}, '')[:{_VALUE_CHARACTERS}], '(none)') AS value,"
        " count(*) AS rows FROM rows GROUP BY value ORDER BY rows DESC, value"
    ).fetchall()
    return frequent(dict(counts), KEPT_VALUES)


def _classes(database: sql.Database, value: str, ends: Sequence[int], where: str) -> list[int]:
    steps = " + ".join(f"({value} >= {end})::INTEGER" for end in ends)
    return _by_number(database, steps, len(ends) + 1, where)


def _histogram(database: sql.Database, name: str, low: float, high: float) -> list[int]:
    width = (high - low) / SCORE_BINS
    place = f"floor(({name} - {low}) / {width})"
    bins = f"greatest(0, least({SCORE_BINS - 1}, {place}))::INTEGER"
    return _by_number(database, bins, SCORE_BINS, f"isfinite({name})")


def _by_number(database: sql.Database, number: str, count: int, where: str) -> list[int]:
    counts = dict(
        database.execute(
            f"SELECT {number} AS number, count(*) FROM rows WHERE {where} GROUP BY number"
        ).fetchall()
    )
    return [counts.get(place, 0) for place in range(count)]
