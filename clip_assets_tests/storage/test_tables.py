"""Parquet files hold what the layout says."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.storage import tables
from clip_assets.storage.store import Store

SCHEMA = pa.schema([("uid", pa.string()), ("width", pa.int32())])
ROWS = pa.table({"uid": ["a", "b"], "width": pa.array([1, None], pa.int32())})


def test_table_reads_back_as_written(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, ROWS, SCHEMA)
    assert tables.read(store, "t.parquet", SCHEMA).equals(ROWS)
    assert tables.count(store, "t.parquet") == 2
    assert tables.read(store, "t.parquet", SCHEMA, ["uid"]).column_names == ["uid"]


def test_same_rows_give_the_same_bytes(store: Store) -> None:
    for path in ("a.parquet", "b.parquet"):
        with store.publish(path) as part:
            tables.write(part, ROWS, SCHEMA)
    assert store.read_bytes("a.parquet") == store.read_bytes("b.parquet")


def test_missing_column_is_refused_when_written(store: Store) -> None:
    with pytest.raises(SchemaError, match="columns \\['width'\\]"), store.publish("t") as part:
        tables.write(part, ROWS.select(["uid"]), SCHEMA)
    assert not store.exists("t")


def test_missing_column_that_is_never_null_is_refused_when_read(store: Store) -> None:
    needed = pa.schema([SCHEMA.field("uid"), SCHEMA.field("width").with_nullable(nullable=False)])
    with store.publish("t.parquet") as part:
        tables.write(part, ROWS.select(["uid"]))
    with pytest.raises(SchemaError, match=r"t\.parquet: found columns uid string"):
        tables.read(store, "t.parquet", needed)


def test_a_nullable_column_of_a_later_layout_is_null_in_an_older_file(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, ROWS.select(["uid"]))
    read = tables.read(store, "t.parquet", SCHEMA)
    assert read.schema == SCHEMA
    assert read.to_pydict() == {"uid": ["a", "b"], "width": [None, None]}
    assert tables.read(store, "t.parquet", SCHEMA, ["width"]).column("width").null_count == 2


def test_wrong_type_is_refused(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write(part, pa.table({"uid": ["a"], "width": ["wide"]}))
    with pytest.raises(SchemaError, match="width"):
        tables.read(store, "t.parquet", SCHEMA)


def encodings(store: Store, path: str, column: str) -> set[str]:
    with store.local(path) as file:
        group = pq.read_metadata(file).row_group(0)
    found = [group.column(number) for number in range(group.num_columns)]
    return {name for one in found if one.path_in_schema == column for name in one.encodings}


def test_only_columns_that_repeat_have_dictionaries(store: Store) -> None:
    rows = 5000
    schema = pa.schema([("uid", pa.string()), ("kind", pa.string()), ("score", pa.float64())])
    columns = {
        "uid": [f"{number:032x}" for number in range(rows)],
        "kind": ["a", None] * (rows // 2),
        "score": [number / 7 for number in range(rows)],
    }
    table = pa.table(columns, schema=schema)
    with store.publish("t.parquet") as part:
        tables.write_batches(part, schema, table.to_batches(2000))
    assert "RLE_DICTIONARY" in encodings(store, "t.parquet", "kind")
    assert "DELTA_LENGTH_BYTE_ARRAY" in encodings(store, "t.parquet", "uid")
    assert "RLE_DICTIONARY" not in encodings(store, "t.parquet", "score")
    assert tables.read(store, "t.parquet", schema).equals(table)


def test_a_table_without_rows_has_its_columns(store: Store) -> None:
    with store.publish("t.parquet") as part:
        tables.write_batches(part, SCHEMA, [])
    assert tables.read(store, "t.parquet", SCHEMA).num_rows == 0


@given(sizes=st.lists(st.integers(0, 9), max_size=8), rows=st.integers(1, 6))
def test_regrouped_batches_have_the_same_rows(sizes: list[int], rows: int) -> None:
    numbers = pa.table({"n": pa.array(range(sum(sizes)), pa.int64())})
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    pieces = [
        pa.RecordBatch.from_arrays([numbers["n"].slice(start, size).combine_chunks()], names=["n"])
        for start, size in zip(starts, sizes, strict=True)
    ]
    found = list(tables.regrouped(pieces, rows))
    assert [batch.num_rows for batch in found[:-1]] == [rows] * (len(found) - 1)
    assert all(0 < batch.num_rows <= rows for batch in found)
    assert [n for batch in found for n in batch.column("n").to_pylist()] == list(range(sum(sizes)))
