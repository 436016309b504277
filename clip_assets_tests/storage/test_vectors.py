"""Embedding files are plain npy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import AlignmentError, SchemaError
from clip_assets.storage import vectors
from clip_assets.storage.store import Store


@given(sizes=st.lists(st.integers(0, 5)), dim=st.integers(1, 8))
def test_chunks_read_back_as_one_array(sizes: list[int], dim: int) -> None:
    store = Store.open("memory://vectors")
    chunks = [np.random.default_rng(n).random((n, dim)).astype(np.float16) for n in sizes]
    with store.publish("e.npy") as part:
        vectors.write(part, chunks, sum(sizes), dim)
    with vectors.opened(store, "e.npy") as array:
        expected = np.concatenate([np.empty((0, dim), np.float16), *chunks])
        np.testing.assert_array_equal(array, expected)


def test_rows_that_do_not_add_up_publish_nothing(store: Store) -> None:
    with (
        pytest.raises(AlignmentError, match="found 2 rows, expected 3 rows"),
        store.publish("e.npy") as part,
    ):
        vectors.write(part, [np.zeros((2, 4), np.float16)], 3, 4)
    assert not store.exists("e.npy")


def test_array_of_another_kind_is_refused(store: Store) -> None:
    with store.publish("e.npy") as part, part.open("wb") as file:
        np.save(file, np.zeros((2, 4), np.float32))
    with (
        pytest.raises(SchemaError, match="found float32 of shape"),
        vectors.opened(store, "e.npy"),
    ):
        pass
