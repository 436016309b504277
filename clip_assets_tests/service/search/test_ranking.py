"""The end of relevance, thresholds and what is nearly the same."""

import numpy as np
import pytest

from clip_assets.service.search import ranking
from clip_assets_tests.vectors import unit, unit_rows


def falling(first: int, others: int) -> np.ndarray:
    """A plateau, and after it a lower one."""
    return np.concatenate([np.linspace(0.8, 0.75, first), np.linspace(0.4, 0.3, others)])


@pytest.mark.parametrize("first", [1, 7, 50])
def test_the_end_is_where_similarity_has_fallen(first: int) -> None:
    assert ranking.relevance_ends(falling(first, 100).astype(np.float32)) == first


@pytest.mark.parametrize(
    "values", [[], [0.5], [0.5] * 30, np.linspace(0.9, 0.1, 30), [0.9, *[0.1] * 8]]
)
def test_what_falls_evenly_has_no_end(values: list[float]) -> None:
    assert ranking.relevance_ends(np.array(values, np.float32)) is None


def test_thresholds_let_through_what_they_say() -> None:
    similar = np.array([0.8, 0.7, 0.5, -0.2], np.float32)
    assert ranking.close_enough(similar, None, "absolute", 2) == 4
    assert ranking.close_enough(similar, 0.7, "absolute", 2) == 2
    assert ranking.close_enough(similar, 0.6, "relative", 2) == 3
    assert ranking.close_enough(similar, None, "elbow", 2) == 2
    assert ranking.close_enough(similar, None, "elbow", None) == 4
    below = np.array([-0.1, -0.2], np.float32)
    assert ranking.close_enough(below, 0.5, "relative", None) == 1
    assert ranking.close_enough(similar[:0], 0.5, "relative", None) == 0


def test_leaders_are_the_same_however_many_follow() -> None:
    vectors = unit_rows(3, 400, 4)
    vectors[17] = np.nan
    all_of_them = ranking.leaders(vectors, 0.9)
    for size in (0, 1, 10, 300):
        assert (ranking.leaders(vectors[:size], 0.9) == all_of_them[:size]).all()
    own = np.flatnonzero(all_of_them == np.arange(400))
    assert 17 in own
    among = np.nan_to_num(unit(vectors))[own]
    assert (np.triu(among @ among.T, 1) < 0.9).all()
    rest = np.flatnonzero(all_of_them != np.arange(400))
    nearest = np.einsum("nd,nd->n", vectors[rest], vectors[all_of_them[rest]])
    assert (nearest >= 0.9 - 1e-6).all()
