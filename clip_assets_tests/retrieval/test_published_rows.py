"""Files of strangers that are no rows of a published data set are told as such."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import SchemaError
from clip_assets.retrieval.published_rows import PublishedRange

UIDS = [f"{row:032x}" for row in range(3)]
LISTS = pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "columns"),
        ({"i": ["a", "b", "c"], "uid": UIDS}, "columns i, uid"),
        ({"uid": UIDS, "i": [0, 1, 2]}, "columns uid, i"),
        ({"i": [0, 1, 2], "url": UIDS}, "columns i, url"),
        ({"i": pa.array([None] * 3, pa.int64()), "uid": UIDS}, "lowest id"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    with ExitStack() as stack, pytest.raises(SchemaError, match=told):
        PublishedRange(tmp_path / "rows.parquet", 0, "rows", stack)


@pytest.mark.parametrize(
    "vectors",
    [
        pa.array([[1.0, 0.0], [1.0], [0.0, 1.0]], LISTS),
        pa.array([[1.0, 0.0], None, [0.0, 1.0]], LISTS),
        pa.array([1.0, 2.0, 3.0]),
    ],
    ids=["short", "null", "numbers"],
)
def test_vectors_of_another_form_are_refused(tmp_path: Path, vectors: pa.Array) -> None:
    table = pa.table({"i": [0, 1, 2], "uid": UIDS, "image_embedding": vectors})
    pq.write_table(table, tmp_path / "rows.parquet")
    with ExitStack() as stack:
        rows = PublishedRange(tmp_path / "rows.parquet", 0, "rows", stack)
        with pytest.raises(SchemaError, match="vector"):
            rows.vectors(np.arange(3), "image", 2)
