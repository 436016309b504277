"""Single values are those that arrow gives, whatever the column's type, nulls and offset."""

import pyarrow as pa
import pytest

from clip_assets.storage import cells

COLUMNS = [
    pa.array(["a", "", "größer", "日本", "e"]),
    pa.array(["a", None, "größer", None, ""]),
    pa.array([None, None], pa.string()),
    pa.array([], pa.string()),
    pa.array([1, -2, 2**40]),
    pa.array([1, None, 3], pa.int32()),
    pa.array([0.1, None, float("inf")], pa.float32()),
    pa.array([0.1, 2.5], pa.float64()),
    pa.array([True, None, False]),
    pa.array(["a", "b", "a", None]).dictionary_encode(),
    pa.array([[1], None, []]),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_values_are_those_of_arrow(column: pa.Array) -> None:
    for own in (column, column[1:], column[2:3], pa.concat_arrays([column, column])):
        read = cells.reader(own)
        assert [read(place) for place in range(len(own))] == own.to_pylist()
