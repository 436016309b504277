"""Small sources of known size."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Write = Callable[..., str]


@pytest.fixture
def csv_of(tmp_path: Path) -> Write:
    """``csv_of(name, rows)``: a csv file; returns its path."""

    def write(name: str, rows: int, tag: str = "") -> str:
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        lines = [f"http://{name}/{row:08d}{tag},caption" for row in range(rows)]
        path.write_text("\n".join(["url,caption", *lines]) + "\n")
        return str(path)

    return write


@pytest.fixture
def parquet_of(tmp_path: Path) -> Write:
    """``parquet_of(name, rows, group)``: a parquet file of row groups; returns its path."""

    def write(name: str, rows: int, group: int) -> str:
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        table = pa.table({"url": [f"http://{name}/{row}" for row in range(rows)]})
        pq.write_table(table, path, row_group_size=group)
        return str(path)

    return write
