"""Single values of a column in memory or mapped: what a few results need of many rows.

Arrow takes rows out of columns; of a few rows in many batches it costs more to speak of rows than
to read them. Values are read from the column's own buffers here, as ``as_py`` would give them.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

Cell = Callable[[int], Any]
"""The value at a place, counted from 0; None where it is null."""

_FORMATS = {pa.int32(): "i", pa.int64(): "q", pa.float32(): "f", pa.float64(): "d"}


def reader(column: pa.Array) -> Cell:
    """What reads single values of a column.

    Args:
        column: (n,) of any type; its buffers live as long as the reader.
    """
    if column.type == pa.string():
        value = _texts(column)
    elif column.type in _FORMATS:
        value = _numbers(column, _FORMATS[column.type])
    else:
        return _scalars(column)
    valid = column.buffers()[0]
    return value if valid is None or not column.null_count else _nullable(column, value)


def _texts(column: pa.Array) -> Cell:
    _, ends, content = column.buffers()
    if ends is None or content is None:  # no row, or only nulls and empty ones
        return _scalars(column)
    starts = memoryview(ends).cast("i")[column.offset :]
    letters = memoryview(content)
    return lambda place: str(letters[starts[place] : starts[place + 1]], "utf-8")


def _numbers(column: pa.Array, form: Any) -> Cell:
    content: Any = column.buffers()[1]
    return memoryview(content).cast(form)[column.offset :].__getitem__


def _scalars(column: pa.Array) -> Cell:
    def cell(place: int) -> Any:
        return column[place].as_py()

    return cell


def _nullable(column: pa.Array, value: Cell) -> Cell:
    valid: Any = column.buffers()[0]
    bits, start = memoryview(valid), column.offset

    def cell(place: int) -> Any:
        bit = start + place
        return value(place) if bits[bit >> 3] >> (bit & 7) & 1 else None

    return cell
