"""Programs of others read a folder of tables as one table, whatever each partition's source had."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.dedup.unique_pairs import unique_pairs
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.pool.reading import dataset, relation
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

SOURCES = {
    "a.csv": "url,caption,hash\nhttp://x/1,one,7\nhttp://x/2,two,8\n",
    "b.jsonl": '{"url": "http://x/3", "caption": "three", "tags": ["t"]}\n{"caption": "none"}\n',
    "c.csv": "url\n",
    "d.parquet": pa.table({"url": ["http://x/4"], "similarity": [0.5], "exif": ["{}"]}),
    "e.txt": "http://x/1\nhttp://x/5\n",
    "f.csv": "url,caption,hash\nhttp://x/1,one,9\n",
}
"""The pairs of the third and the last leave no table: it has no row, and each of its pairs came
before."""

READERS: dict[str, Callable[[str, str], list[dict[str, Any]]]] = {
    "duckdb": lambda folder, order: (
        duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet') ORDER BY {order}")
        .to_arrow_table()
        .to_pylist()
    ),
    "polars": lambda folder, order: pl.read_parquet(f"{folder}/*.parquet").sort(order).to_dicts(),
    "polars, lazily": lambda folder, order: (
        pl.scan_parquet(f"{folder}/*.parquet").sort(order).collect().to_dicts()
    ),
    "pyarrow": lambda folder, order: ds.dataset(folder).to_table().sort_by(order).to_pylist(),
    "datasets": lambda folder, order: (
        datasets.Dataset.from_parquet(
            sorted(map(str, Path(folder).glob("*.parquet"))), cache_dir=f"{folder}.cache"
        )
        .sort(order)
        .to_list()
    ),
    "pandas": lambda folder, order: (
        pd.read_parquet(folder, dtype_backend="pyarrow")
        .sort_values(order)[lambda frame: list(frame.columns)]
        .pipe(pa.Table.from_pandas, preserve_index=False)
        .to_pylist()
    ),
}


@pytest.fixture(params=[[], ["hash", "tags"]], ids=["json", "promoted"])
def pool(request: pytest.FixtureRequest, local_store: Store, tmp_path: Path) -> MadeUp:
    """A pool with a partition for each source."""
    made = MadeUp(local_store, sources={"promoted": request.param})
    for name, content in SOURCES.items():
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_text(content)
        add_sources(local_store, [str(path)], made.settings.sources)
    for key in made.pool.partitions:
        raw_pairs(made.pool, key)
    for key in made.pool.partitions:
        unique_pairs(made.pool, key)
    return made


@pytest.mark.parametrize("reader", READERS)
def test_others_read_a_folder_of_pairs(pool: MadeUp, reader: str) -> None:
    expected = {
        "raw": ["http://x/1", "http://x/1", "http://x/1", *(f"http://x/{n}" for n in (2, 3, 4, 5))],
        "unique": ["http://x/1", "http://x/1", *(f"http://x/{n}" for n in (2, 3, 4, 5))],
    }
    promoted = pool.settings.sources.promoted
    for folder, urls in expected.items():
        rows = READERS[reader](f"{pool.store.base}/{folder}", "url")
        assert [row["url"] for row in rows] == urls
        assert list(rows[0]) == schemas.pairs(promoted).names
        said = {row["url"]: said_of(row) for row in rows}
        assert said["http://x/2"] == {"hash": "8"}
        assert said["http://x/3"] == {"tags": '["t"]'}
        assert said["http://x/4"] == {"exif": "{}"}
        assert said["http://x/5"] == {}


def said_of(row: dict[str, Any]) -> dict[str, str]:
    """What a source said of a row beyond the canonical columns, wherever it stands."""
    own = {name: row[name] for name in ("hash", "tags") if row.get(name) is not None}
    return own | json.loads(row["further"] or "{}")


def test_tables_of_a_folder_have_one_schema_and_rows(pool: MadeUp) -> None:
    for folder in ("raw", "unique", "pair_keys", "rejects"):
        files = [Path(pool.store.base, path) for path in pool.store.list(folder)]
        assert len({str(pq.read_schema(file)) for file in files}) <= 1, folder
        assert folder == "rejects" or all(tables.has_rows(file) for file in files)
    assert len(pool.store.list("raw")) == 5
    assert [Path(path).stem for path in pool.store.list("rejects")] == list(pool.pool.partitions)
    assert len(pool.store.list("unique")) == 4


def test_partitions_of_an_earlier_release_are_read_with_those_of_this_one(pool: MadeUp) -> None:
    """They have further columns as columns, and no ``further``."""
    key = layout.partition_key(len(SOURCES))
    old = pa.table({"uid": ["0" * 32], "url": ["http://x/6"], "caption": ["six"]})
    old = tables.conform(tables.filled(old, schemas.CANONICAL), schemas.CANONICAL, "")
    rows = old.append_column("hash", pa.array(["h"]))
    pool.make(layout.RAW_PAIRS, key, 1, {layout.raw(key): lambda part: tables.write(part, rows)})
    read = dataset(pool.pool, "raw").to_table().to_pylist()
    promoted = pool.settings.sources.promoted
    assert list(read[0]) == schemas.pairs(promoted).names
    assert (read[-1]["url"], read[-1]["further"]) == ("http://x/6", None)
    assert [row.get("hash") for row in read[-1:]] == ["h" if promoted else None]
    assert relation(pool.pool, "raw").filter("further IS NOT NULL OR caption = 'six'").count(
        "*"
    ).fetchall() == [(2 if promoted else 6,)]


@pytest.mark.parametrize("reader", READERS)
def test_others_read_rejects_of_which_some_partitions_have_none(pool: MadeUp, reader: str) -> None:
    rows = READERS[reader](f"{pool.store.base}/rejects", "reason")
    assert [(row["line"], row["reason"]) for row in rows] == [(2, "no url")]
    assert len(pool.store.list("rejects")) == len(SOURCES)
