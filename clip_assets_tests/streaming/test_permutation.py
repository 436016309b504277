"""A permutation is one, whatever its size and key, and looks like chance."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.permutation import MOST_ROWS, Permutation


@given(st.integers(1, 5_000), st.integers())
def test_every_row_has_one_position(size: int, seed: int) -> None:
    assert sorted(Permutation(size, seed)(np.arange(size))) == list(range(size))


@given(st.integers(10_000, MOST_ROWS), st.integers(), st.data())
def test_rows_of_a_large_one_are_distinct_and_in_range(
    size: int, seed: int, data: st.DataObject
) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), max_size=50, unique=True))
    rows = Permutation(size, seed)(np.array(positions, np.int64))
    assert len(set(rows.tolist())) == len(positions)
    assert all(0 <= row < size for row in rows)


def test_a_position_alone_has_the_row_that_it_has_among_others() -> None:
    order = Permutation(1_000, "seed")
    together = order(np.arange(1_000))
    assert [int(order([position])[0]) for position in range(0, 1_000, 97)] == [
        *together[::97].tolist()
    ]


def test_keys_give_other_orders() -> None:
    orders = {tuple(Permutation(20, 7, epoch)(np.arange(20))) for epoch in range(50)}
    assert len(orders) == 50


def test_every_order_of_few_rows_is_as_likely() -> None:
    orders = Counter(tuple(Permutation(4, seed)(np.arange(4)).tolist()) for seed in range(4_800))
    assert len(orders) == 24
    # 200 of each; five standard deviations.
    assert max(abs(times - 200) for times in orders.values()) < 5 * 200**0.5


def test_neighbours_are_strangers() -> None:
    rows = Permutation(10**8, 0)(np.arange(100_000))
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.02
    # As many as chance puts into each of a hundred stretches: 1,000, five deviations.
    counts = np.bincount(rows // 10**6, minlength=100)
    assert np.abs(counts - 1_000).max() < 5 * 1_000**0.5


@pytest.mark.parametrize("size", [0, MOST_ROWS + 1])
def test_no_rows_have_no_order(size: int) -> None:
    with pytest.raises(ConfigurationError, match="samples"):
        Permutation(size, 0)
