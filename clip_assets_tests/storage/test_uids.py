"""Uids as text and as pairs of integers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.storage import hex_digits, uids

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


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=20), st.data())
def test_order_by_counting_is_the_same(drawn: list[int], data: st.DataObject) -> None:
    some = st.sampled_from(drawn or [0])
    pairs = np.array([(first, data.draw(some)) for first in drawn], np.dtype("u8,u8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uids, "RADIX_ROWS", 1)
        order = uids.order_of(pairs)
    assert order.tolist() == sorted(range(len(pairs)), key=lambda row: tuple(pairs[row].tolist()))


@given(numbers, st.data())
def test_those_that_are_kept_alone_are_looked_at(drawn: list[int], data: st.DataObject) -> None:
    kept = np.array([data.draw(st.booleans()) for _ in drawn], np.bool_)
    texts = [f"{n:032x}" if is_kept else "z" * 32 for n, is_kept in zip(drawn, kept, strict=True)]
    found = uids.texts(uids.pairs(column(texts, 2), np.concatenate([kept[::2], kept[1::2]])))
    asked = column(
        [text if is_kept else None for text, is_kept in zip(texts, kept, strict=True)], 2
    )
    assert found == [text for text in asked.to_pylist() if text is not None]


def test_every_character_but_hex_digits_is_told() -> None:
    hexadecimal = set(b"0123456789abcdefABCDEF")
    for place, byte in enumerate(range(256)):
        digits = np.full((3, 32), ord("7"), np.uint8)
        digits[1, place % 32] = byte
        if byte in hexadecimal:
            assert hex_digits.unhexed(digits.reshape(-1)).tobytes() == bytes.fromhex(
                digits.tobytes().decode()
            )
        else:
            with pytest.raises(ValueError, match="other"):
                hex_digits.unhexed(digits.reshape(-1))


def test_slices_and_chunks_keep_their_order() -> None:
    texts = [f"{number:032x}" for number in range(10)]
    sliced = pa.chunked_array([pa.array(texts[:4]).slice(1, 2), pa.array(texts[4:]).slice(2)])
    assert uids.texts(uids.pairs(sliced)) == texts[1:3] + texts[6:]


@pytest.mark.parametrize("wrong", [None, "", "abc", "g" * 32, "a" * 31, " " * 32, "é" * 16])
def test_anything_else_is_refused(wrong: str | None) -> None:
    with pytest.raises(SchemaError, match="32 hex digits"):
        uids.pairs(column(["a" * 32, wrong]))
