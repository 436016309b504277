"""The truth of partitions together is the truth of the pool."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.index import neighbours
from clip_assets_tests.vectors import unit_rows

QUERIES = unit_rows(3, 5, 8)


@settings(max_examples=40)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_parts_joined_are_what_brute_force_finds(counts: list[int]) -> None:
    rows = [unit_rows(10 + place, count, 8) for place, count in enumerate(counts)]
    numbers = [np.arange(count) + 100 * place for place, count in enumerate(counts)]
    parts = [neighbours.of(QUERIES, own, of) for own, of in zip(rows, numbers, strict=True)]
    known = neighbours.joined(parts, len(QUERIES))
    similar = QUERIES @ np.concatenate(rows).T
    order = np.argsort(-similar, axis=1)[:, : neighbours.KEPT]
    there = order.shape[1]
    assert np.allclose(known["similarity"][:, :there], np.take_along_axis(similar, order, 1))
    assert np.array_equal(known["list"][:, :there], np.concatenate(numbers)[order])
    assert np.isneginf(known["similarity"][:, there:]).all()


def test_of_all_that_are_there_only_the_own_pair_is_left_out() -> None:
    rows = unit_rows(4, 40, 8)
    rows[7] = rows[3]  # a copy of it stays
    known = neighbours.of(QUERIES, rows, np.arange(40))
    for own in (3, int(known["list"][0, 4])):
        others = neighbours.others(known, QUERIES @ rows[own])
        left = np.delete(np.arange(40), own)
        for query, truth in zip(QUERIES, others, strict=True):
            best = np.sort(rows[left] @ query)[::-1][: neighbours.NEIGHBOURS]
            assert truth["similarity"] == pytest.approx(best)
    nowhere = neighbours.others(known, np.full(5, 0.999, np.float32))
    assert np.array_equal(nowhere, known[:, : neighbours.NEIGHBOURS])
