"""A search looks into the lists within a gap and into no others, however many ask at once."""

import numpy as np
import pytest

from clip_assets.index.engine import ann, list_choice
from clip_assets_tests.vectors import unit_rows

GAP = 0.2


@pytest.mark.parametrize("count", [1, list_choice.BLAS_FROM + 5])
def test_lists_within_a_gap_are_searched(count: int) -> None:
    rows, queries = unit_rows(1, 2_000, 8), unit_rows(2, count, 8)
    index = ann.trained("IVF32,Flat", 8, rows)
    owners = ann.add(index, rows).lists
    scores = ann.centroid_scores(index, queries)
    is_within = scores >= scores.max(axis=1, keepdims=True) - GAP
    assert len(set(is_within.sum(axis=1).tolist())) > (1 if count > 1 else 0)
    similar = np.where(is_within[:, owners], queries @ rows.T, -np.inf)
    found, ids = ann.search(index, queries, 10, GAP)
    expected = np.argsort(-similar, axis=1)[:, :10]
    assert np.allclose(found, np.take_along_axis(similar, expected, 1), atol=1e-5)
    assert np.array_equal(ids, expected)


def test_lists_within_a_gap_come_best_first() -> None:
    rows = unit_rows(3, 1_500, 16)
    index = ann.trained("IVF40,Flat", 16, rows)
    lists, queries = ann.inverted(index), unit_rows(4, 30, 16)
    assert lists is not None
    for gap in (0, GAP, 2):
        found, numbers = list_choice.within(lists, queries, gap)
        for every, own, own_numbers in zip(
            list_choice.scores(lists, queries), found, numbers, strict=True
        ):
            expected = [n for n in np.argsort(-every) if every[n] >= every.max() - np.float32(gap)]
            count = len(expected)
            assert own_numbers[:count].tolist() == expected
            assert (own_numbers[count:] == -1).all()
            assert own[:count].tolist() == every[expected].tolist()
