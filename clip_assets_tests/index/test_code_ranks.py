"""One wide search tells what narrower ones find."""

from typing import Any

import numpy as np
import pytest

from benchmarks.index_vectors import Whole
from clip_assets.index.effort.code_ranks import CodeRanks, Scanned
from clip_assets.index.engine import ann
from clip_assets.index.engine.fast_lists import fast_form, has_fast_form
from clip_assets_tests.vectors import unit_rows

DIM, LISTS, ROWS = 32, 30, 3_000
VECTORS, QUERIES = unit_rows(1, ROWS, DIM), unit_rows(2, 70, DIM)  # more than one batch


@pytest.fixture(params=["RR32,IVF30,RaBitQ", "IVF30,SQ8", "P16,RR16,IVF30,PQ8x4"])
def filled(request: pytest.FixtureRequest) -> ann.Index:
    index = ann.trained(request.param, DIM, VECTORS)
    # Ids that are no places.
    ann.add(index, VECTORS, np.random.default_rng(5).permutation(ROWS))
    return index


def whole(index: ann.Index) -> Any:
    order = np.empty_like(VECTORS)
    order[np.random.default_rng(5).permutation(ROWS)] = VECTORS
    return Whole(order)


@pytest.mark.parametrize("first", [(2.0, ROWS), (0.3, 500), (0.0, 1)])
def test_places_are_those_of_the_search_itself(filled: ann.Index, first: tuple[float, int]) -> None:
    exact = whole(filled)
    form = fast_form(filled) or filled
    assert (form is not filled) == has_fast_form(filled)
    ranks = CodeRanks(filled, exact, QUERIES)
    ranks.cover(*first)
    for gap, most in ((0.3, 500), (0.1, 100), (0.2, 400), (0.35, 50), (0.35, 600)):
        places = ranks.places(gap, most)
        _, ids = ann.search(form, QUERIES, most, gap)
        similar = exact.similarities(QUERIES, ids)
        for own, near, expected in zip(places, ranks.similar, similar, strict=True):
            is_in = (own > 0) & (own <= most)
            count, there = int(is_in.sum()), int(np.isfinite(expected).sum())
            assert np.array_equal(own[is_in], np.arange(1, count + 1))
            # Of a search that was cut off the last ones of far narrower searches are not known.
            assert count == there or (count < there and first != (2.0, ROWS))
            # Codes that are equal stand in any order, and in the fast form many are.
            is_same = np.isclose(near[is_in], expected[:count], atol=1e-5)
            is_there = np.isin(near[is_in].round(5), expected.round(5))
            assert (is_same if form is filled else is_there).mean() > 0.9


def test_what_is_looked_at_is_what_lists_within_a_gap_hold(filled: ann.Index) -> None:
    lists = ann.inverted(filled)
    assert lists is not None
    sizes = np.array([lists.get_list_size(number) for number in range(lists.nlist)])
    scanned = Scanned(filled, sizes, QUERIES)
    scores = ann.centroid_scores(filled, QUERIES)
    behind = scores.max(axis=1, keepdims=True) - scores
    for gap in (0.0, 0.03, 0.1, 0.4, 2.0, 9.0):
        expected = ((behind <= gap) @ sizes).mean() / ROWS
        assert scanned.share(gap) == pytest.approx(expected, abs=1e-3)
    assert scanned.share(2.0) == 1
