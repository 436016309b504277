"""Parquet files hold what the layout says."""

import pyarrow as pa
import pytest

from clip_assets.errors import SchemaError
from clip_assets.storage import tables
from clip_assets.storage.store import Store

SCHEMA = pa.schema([("uid", pa.string()), ("width", pa.int32())])
ROWS = pa.table({"uid": ["a", "b"], "width": pa.array([1, None], pa.int32())})


def test_table_reads_back_as_written(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, ROWS, SCHEMA)
    assert tables.read(store, "t.parquet", SCHEMA, "raw_pairs").equals(ROWS)
    assert tables.count(store, "t.parquet", "raw_pairs") == 2
    assert tables.read(store, "t.parquet", SCHEMA, "raw_pairs", ["uid"]).column_names == ["uid"]


def test_same_rows_give_the_same_bytes(store: Store) -> None:
    for path in ("a.parquet", "b.parquet"):
        with store.publish(path) as part:
            tables.write(part, ROWS, SCHEMA)
    assert store.read_bytes("a.parquet") == store.read_bytes("b.parquet")


def test_missing_column_is_refused_when_written(store: Store) -> None:
    with pytest.raises(SchemaError, match="columns \\['width'\\]"), store.publish("t") as part:
        tables.write(part, ROWS.select(["uid"]), SCHEMA)
    assert not store.exists("t")


def test_missing_column_is_refused_when_read(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, ROWS.select(["uid"]))
    with pytest.raises(SchemaError, match=r"t\.parquet: found columns uid string"):
        tables.read(store, "t.parquet", SCHEMA, "raw_pairs")


def test_wrong_type_is_refused(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, pa.table({"uid": ["a"], "width": ["wide"]}))
    with pytest.raises(SchemaError, match="width"):
        tables.read(store, "t.parquet", SCHEMA, "raw_pairs")
