"""Many queries at once, to a table of what they find.

For pipelines: by texts, images, embeddings or pairs, with a number of results or a threshold.
Queries come from ``retrieval.query_file``; finding is ``retrieval.search``.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import schemas
from clip_assets.errors import ConfigurationError, ImageError
from clip_assets.retrieval import queries
from clip_assets.retrieval.query_file import Asked
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import BATCH, Floats, Nearest

FIRST = 100
"""Results that are looked for at first where only a threshold says how many there are."""

NAME_SHOWN = 100
"""Characters of a query that an error tells."""

MORE = 8
"""So many times as many are looked for next, while the last of them is still above it."""


def retrieve(
    searcher: Searcher,
    asked: Sequence[Asked],
    k: int | None = 10,
    threshold: float | None = None,
    side: str = "image",
    *,
    recall_target: float | None = None,
) -> Iterator[pa.Table]:
    """What many queries find, some queries at a time, in their order.

    Args:
        searcher: of the index version that is searched.
        asked: name and query of each; names are what the results are told by.
        k: most results of a query; None: all above the threshold.
        threshold: least similarity.
        side: ``image`` to compare with images, ``text`` to compare with captions.
        recall_target: see ``Searcher.search``.

    Yields:
        Tables of ``schemas.RETRIEVED``, the best of a query first; nothing of one without results.

    Raises:
        ConfigurationError: neither ``k`` nor a threshold is given, or a query cannot be.
        ModelLoadError: a query needs the pool's model, which cannot be loaded.
        ModelMismatchError: the settings name another model than that of the index.
    """
    if k is None and threshold is None:
        raise ConfigurationError("k", "neither k nor a threshold", "one of them", "Give one.")
    least = -np.inf if threshold is None else threshold
    done = 0
    for kind, group in groupby(asked, key=_kind):
        of_kind = list(group)
        for start in range(0, len(of_kind), BATCH):
            batch = of_kind[start : start + BATCH]
            vectors = _vectors(searcher, batch, done)
            wanted = FIRST if k is None else k
            while True:
                nearest = searcher.search_many(
                    vectors, wanted, side, kind=kind, recall_target=recall_target
                )
                is_all = nearest.ids.shape[1] < wanted
                if k is not None or is_all or not (nearest.similarities[:, -1] >= least).any():
                    break
                wanted *= MORE
            yield _table(searcher, [name for name, _ in batch], done, nearest, least)
            done += len(batch)


def write(part: Path, tables: Iterator[pa.Table]) -> int:
    """Write tables of ``schemas.RETRIEVED`` to a parquet file; how many rows it has.

    A file that was there is replaced when the new one is whole.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not part.parent.is_dir():
        raise ConfigurationError(
            str(part), f"no folder {part.parent}", "a name in a folder", "Make the folder first."
        )
    rows, temporary = 0, part.with_name(f"{part.name}.{os.getpid()}.part")
    try:
        with (
            temporary.open("wb") as file,  # Arrow opens no name that is no UTF-8
            pq.ParquetWriter(file, schemas.RETRIEVED, compression="zstd") as writer,
        ):
            for table in tables:
                writer.write_table(table)
                rows += table.num_rows
        temporary.replace(part)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return rows


def _vectors(searcher: Searcher, batch: Sequence[Asked], done: int) -> Floats:
    """The vectors of some queries; an error says which one cannot be."""
    try:
        return searcher.vectors_of([query for _, query in batch])
    except (ConfigurationError, ImageError):
        for row, (name, query) in enumerate(batch, done):
            try:
                searcher.vector(query)
            except (ConfigurationError, ImageError) as error:
                where = f"query {row} ({name[:NAME_SHOWN]})"
                advice = "Correct this query, or leave it out."
                raise ConfigurationError(where, error.found, error.expected, advice) from error
        raise


def _kind(one: Asked) -> str | None:
    query = one[1]
    return None if isinstance(query, np.ndarray) else queries.kind(query)


def _table(
    searcher: Searcher, names: Sequence[str], done: int, nearest: Nearest, least: float
) -> pa.Table:
    is_close = (nearest.ids >= 0) & (nearest.similarities >= least)
    rows, places = np.nonzero(is_close)
    ids = nearest.ids[rows, places]
    columns: dict[str, Any] = {
        "query": pa.array([names[row] for row in rows.tolist()], pa.string()),
        "query_row": pa.array(rows + done, pa.int64()),
        "rank": pa.array(places, pa.int32()),
        "id": pa.array(ids, pa.int64()),
        "similarity": pa.array(nearest.similarities[rows, places], pa.float32()),
    }
    found_rows = searcher.rows(ids, ["uid", "url", "caption"])
    columns |= {name: found_rows[name] for name in found_rows.column_names}
    return pa.table(columns).select(schemas.RETRIEVED.names).cast(schemas.RETRIEVED)
