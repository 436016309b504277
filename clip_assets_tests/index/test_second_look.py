"""As many candidates are looked at again as a recall needs, and searches use that number."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.index_vectors import Whole
from benchmarks.made_up_vectors import Source
from clip_assets.files import far_ranges
from clip_assets.files.kept import Kept
from clip_assets.index.effort import afar, calibration, neighbours, recall
from clip_assets.index.effort.reach import (
    CANDIDATES,
    MOST_CANDIDATES,
    Effort,
    Reach,
    for_target,
    of_search,
)
from clip_assets.index.effort.second_look import Look, cheapest
from clip_assets.index.engine import ann
from clip_assets.index.far.far_lists import FarLists
from clip_assets.index.far.far_vectors import Lying, VectorsElsewhere
from clip_assets.retrieval.far_side import FarSearch

K, DIM, LISTS, QUERIES, TARGET = 100, 64, 24, 200, 0.9


def test_many_neighbours_are_found_by_codes_of_one_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TARGETS", [TARGET])
    source = Source(dim=DIM, clusters=20)
    images, texts = source.pairs(8_000, seed=1)
    index = ann.trained(f"RR{DIM},IVF{LISTS},RaBitQ", DIM, images[QUERIES:2_000])
    owners = ann.add(index, images).lists
    halves: Any = images.astype(np.float16)
    whole: Any = Whole(halves)
    truth = neighbours.of(texts[:QUERIES], images, owners).deep
    meter = calibration.Meter(index, np.bincount(owners, minlength=LISTS), whole)
    [reach] = meter.reach([recall.Question(index, texts[:QUERIES], truth, images[:QUERIES])])
    _, strangers = source.pairs(QUERIES, seed=2)
    least = np.sort(strangers @ images.T, axis=1)[:, -K, None] - recall.ALIKE

    def found(effort: Effort) -> float:
        _, ids = recall.nearest(index, strangers, K, effort, whole)
        return float((np.einsum("qd,qkd->qk", strangers, images[ids]) >= least).mean())

    assert found(Effort()) < TARGET - 0.2
    assert found(Effort(2.0)) < TARGET - 0.2  # in all lists
    assert found(reach.effort) == pytest.approx(TARGET, abs=0.02)
    assert found(reach.effort) == pytest.approx(reach.recall, abs=0.02)


class OneFile:
    """Where vectors lie: one after the other in a file."""

    def __init__(self, uri: str, vectors: Any) -> None:
        self._uri, self._bytes, self._width = uri, vectors.nbytes, vectors[0].nbytes

    def find(self, ids: ann.Ids) -> Lying:
        return Lying(np.zeros_like(ids), ids * self._width)

    def file(self, _: int) -> tuple[str, int]:
        return self._uri, self._bytes

    def is_replaced(self, _: int) -> bool:
        return False


@pytest.mark.parametrize(("k", "ranges"), [(10, 150), (10, 40), (100, 150)])
@pytest.mark.parametrize("key", [f"RR{DIM},IVF{LISTS},RaBitQ", f"IVF{LISTS},PQ16x4"])
def test_what_is_told_of_a_search_from_afar_is_what_it_finds(
    key: str, k: int, ranges: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "TARGETS", [TARGET])
    monkeypatch.setattr(afar, "RANGES", ranges)
    monkeypatch.setattr(afar, "MOST_LISTS", 8)
    # As in a large pool, where hardly a list or a vector lies beside another one.
    monkeypatch.setattr(far_ranges, "NEIGHBOUR_BYTES", 0)
    source = Source(dim=DIM, clusters=20)
    images, texts = source.pairs(8_000, seed=1)
    index = ann.trained(key, DIM, images[QUERIES:2_000])
    owners = ann.add(index, images).lists
    sizes, halves = np.bincount(owners, minlength=LISTS), np.asarray(images, np.float16)
    truth = neighbours.of(texts[:QUERIES], images, owners).deep
    question = recall.Question(index, texts[:QUERIES], truth, images[:QUERIES]).first(k)
    whole: Any = Whole(halves)
    [reach] = calibration.Meter(index, sizes, whole).reach([question])
    ann.write(index, tmp_path / "index")
    halves.tofile(tmp_path / "vectors")
    read = Kept()
    search = FarSearch(
        FarLists(str(tmp_path / "index"), read),
        VectorsElsewhere(OneFile(str(tmp_path / "vectors"), halves), read, "image"),
        lambda ids: ids >= 0,
        None,
    )
    _, strangers = source.pairs(QUERIES, seed=2)
    ids = search.nearest(strangers, k, reach.effort)[1]
    least = np.sort(strangers @ images.T, axis=1)[:, -k, None] - recall.ALIKE
    found = float((np.einsum("qd,qkd->qk", strangers, images[ids]) >= least).mean())
    assert found == pytest.approx(reach.recall_afar, abs=0.05)
    assert found < reach.recall + 0.02


def test_more_candidates_are_taken_where_they_cost_less_than_more_lists() -> None:
    looks = [
        Look(most, np.array([lost], "f4")) for most, lost in [(100, 0.2), (200, 0.02), (400, 0.01)]
    ]
    assert cheapest(looks, 0.75, [9_000, 2_000, 1_900]).candidates == 200
    assert cheapest(looks, 0.75, [3_000, 2_000, 1_900]).candidates == 100
    assert cheapest(looks, 0.75, [9_000, 2_000, 1_900], row=90).candidates == 100
    assert cheapest(looks, 0.985, [1, 1, 50_000]).candidates == 400  # others cannot
    assert cheapest(looks[:2], 0.99, [1, 1]).candidates == 200


def test_candidates_for_other_numbers_of_results_follow_from_those_that_are_known() -> None:
    ten = Reach(0.9, 0.1, 0.9, 0.0, 0.1, 10, candidates=200)
    known = [ten, replace(ten, k=100, candidates=1_600)]
    numbers = [for_target(known, 0.9, k).candidates for k in (1, 10, 50, 100, 200, 5_000)]
    assert numbers == [200, 200, 856, 1_600, 3_200, MOST_CANDIDATES]
    kinds = {"text": known, "image": [replace(ten, gap=0.2, candidates=100)]}
    unknown = of_search(kinds, None, 0.9, 10)
    assert unknown.effort == Effort(0.2, 200)  # the farthest in both


def test_versions_that_tell_no_number_are_searched_as_they_were() -> None:
    assert Reach(0.9, 0.1, 0.9, 0.0, 0.1).effort == Effort(0.1, CANDIDATES)
