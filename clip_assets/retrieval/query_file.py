"""Many queries from a file: a parquet or csv table, a text with a query in each line, a npy array.

What a query may be is said by ``retrieval.queries``; searching by them is ``retrieval.answering``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clip_assets.errors import ConfigurationError
from clip_assets.files.faults import refuse_special
from clip_assets.retrieval.queries import Query, Uid

COLUMNS = {
    "text": "text",
    "query": "text",
    "prompt": "text",
    "caption": "text",
    "image": "image",
    "uid": "uid",
    "embedding": "embedding",
}
"""What the queries of a column are, by its name; the first of these that a table has is taken."""

Asked = tuple[str, Query]
"""What a query is called, and the query."""


def read(file: Path, column: str | None = None) -> list[Asked]:
    """The queries of a file, in its order.

    Args:
        file: ``.parquet``, ``.csv`` (a header first), ``.txt`` (a text in each line; empty ones
            are passed over) or ``.npy`` of (q, dim) embeddings, on this machine.
        column: of a table; None: the first of ``COLUMNS`` that it has. One of another name has
            texts or embeddings. Images are paths, relative to the file; embeddings are lists of
            numbers.

    Raises:
        ConfigurationError: the file cannot be read, has no such column, or a query is empty.
    """
    refuse_special(str(file))
    try:
        return list(_read(file, column))
    except (OSError, EOFError, TypeError, ValueError, pa.ArrowException) as error:
        raise ConfigurationError(
            str(file), str(error)[:200], "a parquet, csv, txt or npy file", "Correct the file."
        ) from error


def _read(file: Path, column: str | None) -> Iterator[Asked]:
    match file.suffix:
        case ".parquet":
            table = pq.read_table(file)
        case ".csv":
            # All as text: a uid of digits, or a caption that is a date, is neither to be read.
            names = pa_csv.open_csv(file).schema.names
            types = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = pa_csv.read_csv(file, convert_options=types)
        case ".txt":
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            table = pa.table({"text": [line for line in lines if line.strip()]})
        case ".npy":
            rows = np.atleast_2d(np.load(file, mmap_mode="r", allow_pickle=False))
            for number, row in enumerate(rows):
                yield str(number), np.asarray(row)
            return
        case _:
            raise ValueError(f"the name {file.name}")
    name = _column(file, table, column)
    kind = COLUMNS.get(name) or ("embedding" if _is_list(table[name].type) else "text")
    for number, value in enumerate(table[name].to_pylist()):
        yield _query(file, number, kind, value)


def _column(file: Path, table: pa.Table, column: str | None) -> str:
    wanted = [column] if column else list(COLUMNS)
    known = [name for name in wanted if name in table.column_names]
    if not known:
        raise ConfigurationError(
            str(file),
            f"columns {', '.join(table.column_names)}",
            column or f"one of {', '.join(COLUMNS)}",
            "Name the column that has the queries: --column.",
        )
    return known[0]


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _query(file: Path, number: int, kind: str, value: Any) -> Asked:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ConfigurationError(
            f"{file}, query {number}", "nothing", f"a query by {kind}", "Leave its row out."
        )
    if kind != "embedding" and not isinstance(value, str):
        raise ConfigurationError(
            f"{file}, query {number}", repr(value), f"a query by {kind}", "Name another column."
        )
    match kind:
        case "image":
            return value, file.parent / value
        case "uid":
            return value, Uid(value)
        case "embedding":
            return str(number), np.asarray(value, np.float32)
        case _:
            return value, value
