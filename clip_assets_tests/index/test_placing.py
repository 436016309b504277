"""Nearest of many centres, by groups of them."""

import numpy as np

from clip_assets.index.engine import ann, centres, placing
from clip_assets_tests.vectors import unit_rows

DIM, LISTS = 8, placing.LEAST
ROWS = unit_rows(1, centres.LEAST_POINTS * LISTS, DIM)
CENTRES = unit_rows(2, LISTS, DIM)


def test_nearly_every_vector_is_placed_at_its_nearest_centre() -> None:
    some = ROWS[: placing.BLOCK + 100]
    placed = placing.Neighbourhoods(CENTRES).placed(some)
    similar = some @ CENTRES.T
    theirs = np.take_along_axis(similar, placed.lists[:, None], axis=1)[:, 0]
    assert np.allclose(placed.similarities, theirs, atol=1e-5)
    assert np.mean(placed.lists == similar.argmax(axis=1)) > 0.99


def test_a_middle_is_that_of_its_own_and_stays_without_any() -> None:
    owners = np.arange(len(ROWS)) % 3
    moved = placing.moved(CENTRES[:4], ROWS, owners)
    for number in range(3):
        mean = ROWS[owners == number].astype(np.float64).mean(axis=0)
        assert np.allclose(moved[number], mean / np.linalg.norm(mean), atol=1e-4)
    assert np.array_equal(moved[3], CENTRES[3])


def test_an_index_of_many_lists_has_each_vector_where_it_is_said_to_lie() -> None:
    index = ann.trained(f"IVF{LISTS},Flat", DIM, ROWS)
    groups, some = ann.groups(index), ROWS[:500]
    assert groups is not None
    placed = ann.placed(index, some, groups)
    assert np.array_equal(placed.lists, ann.add(index, some).lists)
    assert np.array_equal(placed.lists, ann.centroid_scores(index, some).argmax(axis=1))
    similarities, ids = ann.search(index, some, 1, gap=0.0)
    assert np.array_equal(ids[:, 0], np.arange(500))
    assert np.allclose(similarities, 1, atol=1e-5)
