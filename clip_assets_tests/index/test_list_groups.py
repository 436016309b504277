"""Searching lists group by group tells what searching all of them at once does."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import pytest

from benchmarks.index_vectors import Whole
from benchmarks.made_up_vectors import Source
from clip_assets.index.effort import calibration, neighbours, recall
from clip_assets.index.effort.reach import Reach
from clip_assets.index.engine import ann, fast_lists, list_groups
from clip_assets.index.engine.ann import Index

DIM, LISTS, ROWS, QUERIES, BYTES = 64, 24, 8_000, 200, 16 + 8


class Filled:
    """Codes that have a fast form, and captions."""

    def __init__(self) -> None:
        self.images, self.texts = Source(dim=DIM, clusters=20).pairs(ROWS, seed=1)
        self.index = ann.trained(f"P32,RR32,IVF{LISTS},PQ32x4", DIM, self.images[QUERIES:2_000])
        self.owners = ann.add(self.index, self.images).lists
        self.sizes = np.bincount(self.owners, minlength=LISTS)
        self.truth = neighbours.of(self.texts[:QUERIES], self.images, self.owners)

    def reaches(self, index: Index, known: Sequence[Reach] = ()) -> list[Reach]:
        halves: Any = self.images.astype(np.float16)
        whole: Any = Whole(halves)
        texts, own = self.texts[:QUERIES], self.images[:QUERIES]
        near = recall.Question(index, texts, self.truth.near, own)
        deep = recall.Question(index, texts, self.truth.deep, own)
        return calibration.Meter(index, self.sizes, whole).reach([near, deep], known)


@pytest.fixture(scope="module")
def filled() -> Filled:
    return Filled()


def test_reaches_are_the_same_however_many_lists_are_searched_at_once(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    form_of_some = fast_lists.form_of_some

    def watched(lists: faiss.IndexIVF, numbers: ann.Ids) -> Any:
        assert all(one() is None for one in made)  # no other is in memory
        form = form_of_some(lists, numbers)
        assert form.ntotal * BYTES <= list_groups.GROUP_BYTES
        made.append(weakref.ref(form))
        return form

    monkeypatch.setattr(list_groups, "form_of_some", watched)
    expected = filled.reaches(filled.index)
    at_once = len(made)
    monkeypatch.setattr(list_groups, "GROUP_BYTES", BYTES * max(filled.sizes.max(), ROWS // 8))
    made.clear()
    assert filled.reaches(filled.index) == expected
    assert len(made) > 6 * at_once
    assert max(reach.lost for reach in expected) > 0.01  # codes lose something


def test_a_search_that_knows_what_was_enough_begins_with_as_much(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    nearest = list_groups.nearest

    def watched(index: Index, *asked: Any) -> ann.Ids:
        searched.append(asked[-1])
        return nearest(index, *asked)

    def numbers(known: Sequence[Reach]) -> list[int]:
        searched.clear()
        return [reach.candidates for reach in filled.reaches(filled.index, known)]

    monkeypatch.setattr(list_groups, "nearest", watched)
    expected = filled.reaches(filled.index)
    enough, at_first = [reach.candidates for reach in expected], list(searched)
    assert numbers(expected) == enough
    assert searched[0] == max(at_first) > at_first[0]  # none that is too narrow
    # Where that was far too little, more are compared until enough are.
    assert numbers([replace(reach, candidates=25) for reach in expected]) == enough
    assert searched[0] < at_first[0]


def test_groups_are_as_large_as_they_may_be(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, wanted = ann.inverted(filled.index), np.arange(0, LISTS, 2)
    assert lists is not None
    for most in (1, filled.sizes.max(), ROWS // 3, ROWS):
        monkeypatch.setattr(list_groups, "GROUP_BYTES", BYTES * most)
        found = list(list_groups.groups(lists, wanted))
        assert np.array_equal(np.concatenate(found), wanted)
        sums = [filled.sizes[own].sum() for own in found]
        assert all(own <= most or len(group) == 1 for own, group in zip(sums, found, strict=True))
        firsts = [filled.sizes[own[0]] for own in found[1:]]
        assert all(own + more > most for own, more in zip(sums, firsts, strict=False))
