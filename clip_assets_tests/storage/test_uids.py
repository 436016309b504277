"""Uids as text and as pairs of integers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.storage import uids

numbers = st.lists(st.integers(0, 2**128 - 1), max_size=20)


def column(values: list, chunks: int = 1) -> pa.ChunkedArray:
    split = [values[start::chunks] for start in range(chunks)]
    return pa.chunked_array([pa.array(part, pa.string()) for part in split], pa.string())


@given(numbers)
def test_agrees_with_datacomps_conversion(drawn: list[int]) -> None:
    texts = [f"{number:032x}" for number in drawn]
    oracle = np.array(
        [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in texts], np.dtype("u8,u8")
    )
    pairs = uids.pairs(column(texts))
    assert (pairs.dtype, pairs.tolist()) == (oracle.dtype, oracle.tolist())


@given(numbers)
def test_text_of_pairs_is_the_text_they_came_from(drawn: list[int]) -> None:
    texts = [f"{number:032x}" for number in drawn]
    assert uids.texts(uids.pairs(column(texts))) == texts


@given(numbers)
def test_order_is_that_of_the_numbers_with_repeats(drawn: list[int]) -> None:
    doubled = drawn + drawn[:3]
    ordered = uids.in_order(uids.pairs(column([f"{number:032x}" for number in doubled])))
    assert [int(text, 16) for text in uids.texts(ordered)] == sorted(doubled)


def test_slices_and_chunks_keep_their_order() -> None:
    texts = [f"{number:032x}" for number in range(10)]
    sliced = pa.chunked_array([pa.array(texts[:4]).slice(1, 2), pa.array(texts[4:]).slice(2)])
    assert uids.texts(uids.pairs(sliced)) == texts[1:3] + texts[6:]


@pytest.mark.parametrize("wrong", [None, "", "abc", "g" * 32, "a" * 31, " " * 32, "é" * 16])
def test_anything_else_is_refused(wrong: str | None) -> None:
    with pytest.raises(SchemaError, match="32 hex digits"):
        uids.pairs(column(["a" * 32, wrong]))
