"""A recall that is asked for is had, and what is said of it is true."""

from itertools import product
from typing import Any

import faiss
import numpy as np
import pytest

from benchmarks.made_up_vectors import Source
from clip_assets import layout
from clip_assets.errors import CheckFailedError, ConfigurationError
from clip_assets.index import trials, versions
from clip_assets.index.effort import neighbours
from clip_assets.index.effort.reach import DEFAULT, RANKS, TARGETS, Reach, for_target
from clip_assets.index.effort.recall import WANTED, Question
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.versions import Version
from clip_assets.retrieval.search import Searcher
from clip_assets.storage import vectors
from clip_assets_tests.index.conftest import DIM, OWN, RandomVectors
from clip_assets_tests.vectors import unit_rows

NEIGHBOURS = 10
ASKED = 400


def newest(made: RandomVectors) -> Version:
    return versions.read(made.store, versions.merged(made.store)[-1])


def true_recall(made: RandomVectors, side: str, kind: str, target: float) -> float:
    """What searches find whose pairs are not in the pool: the obvious definition."""
    stored = np.concatenate([made.vectors(key, side) for key in made.pool.partitions]).astype("f4")
    drawn = made.drawn("elsewhere", ASKED, stored.shape[1])
    asked = drawn[layout.SIDES.index(kind)]
    with Searcher.open(made.pool) as searcher:
        ids = searcher.search_many(asked, NEIGHBOURS, side, kind=kind, recall_target=target).ids
    return found_share(asked, stored, ids)


def found_share(asked: Floats, stored: Floats, ids: Ids) -> float:
    """Share of found vectors that are as near as the last should be; (q, dim), (n, dim), (q, k)."""
    least = np.partition(asked @ stored.T, -ids.shape[1], axis=1)[:, -ids.shape[1], None]
    similar = np.einsum("qd,qkd->qk", asked, stored[ids])
    return float((similar >= least - 1e-4).mean())


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "Flat"),
        ({"flat_limit": 100}, "Flat"),
        ({"flat_limit": 100, "max_memory_bytes": 2**20}, "SQ8"),
    ],
)
def test_reported_recall_is_the_true_one(
    made: RandomVectors, settings: dict[str, int], kind: str
) -> None:
    made.set(index=settings)
    rows, dim = (1200, 16) if kind == "Flat" else (2200, 64)
    made.embed(0, rows, dim=dim)
    made.embed(1, 100, dim=dim)
    made.index()
    version = newest(made)
    assert version.key.endswith(kind)
    for side in layout.SIDES:
        for query in layout.SIDES:
            for reach in (one for one in version.reach[side][query] if one.k == NEIGHBOURS):
                assert reach.recall == pytest.approx(
                    true_recall(made, side, query, reach.target), abs=0.05
                )
                assert reach.recall >= reach.target - 0.02


def test_queries_that_no_pair_of_the_pool_made_find_what_was_asked_for(
    made: RandomVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, rows = Source(dim=32, clusters=40), 6_000
    key = layout.partition_key(0)
    pairs = source.pairs(rows, seed=1)
    made.put(0, pairs, made.rows(key, rows), content="", model=OWN)
    # Lists of more than 100: a search that finds fewer than it is asked for looks further.
    made.set(index={"flat_limit": 100, "train_limit": 1_000})
    with monkeypatch.context() as patched:
        patched.setattr(trials, "LEAST_VECTORS", 10**9)
        made.index()
    stored = made.vectors(key).astype("f4")
    with Searcher.open(made.pool) as searcher:
        for kind, asked in zip(layout.SIDES, source.pairs(2_000, seed=2), strict=True):
            for k, target in product(RANKS, TARGETS):
                told = searcher.reach(k, kind=kind, recall_target=target)
                ids = searcher.search_many(asked, k, kind=kind, recall_target=target).ids
                assert (told.k, told.target) == (k, target)
                found = found_share(asked, stored, ids)
                # Of the nearest alone as many queries tell less.
                assert found == pytest.approx(target, abs=0.02 if k == 1 else 0.01)
                assert abs(told.recall - found) <= told.uncertainty + 0.01


@pytest.mark.usefixtures("hasty")
def test_a_higher_target_looks_further(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 5000)
    made.index()
    pictures = made.merge().manifest.report.pictures
    assert made.store.read_bytes(pictures["Recall and vectors looked at"]).startswith(b"\x89PNG")
    for kinds in newest(made).reach.values():
        for reaches in kinds.values():
            assert [(reach.k, reach.target) for reach in reaches] == [*product(RANKS, TARGETS)]
            for k in RANKS:
                of_k = [reach for reach in reaches if reach.k == k]
                gaps, scanned = [r.gap for r in of_k], [r.scanned for r in of_k]
                assert gaps == sorted(gaps)
                assert 0 < scanned[0] < scanned[1] < scanned[2] < 1


@pytest.mark.usefixtures("hasty")
def test_as_many_lists_are_written_into_an_index_as_tools_without_gaps_need(
    made: RandomVectors,
) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 5000)
    made.index()
    with made.store.local(layout.index(newest(made).name, "image")) as file:
        index: Any = faiss.read_index(str(file))
    assert 1 < index.nprobe < index.nlist
    stored = made.vectors(layout.partition_key(0)).astype("f4")
    queries = made.vectors(layout.partition_key(0), "text").astype("f4")[::10]
    _, ids = index.search(queries, NEIGHBOURS)
    assert found_share(queries, stored, ids) >= DEFAULT - 0.02


def test_lists_for_tools_without_gaps_are_counted_as_every_list_scores() -> None:
    rows, queries = unit_rows(1, 600, DIM), unit_rows(2, 130, DIM)
    index = ann.trained("IVF30,Flat", DIM, rows)
    truth = neighbours.of(queries, rows, ann.add(index, rows).lists).near
    question = Question(index, queries, truth, unit_rows(3, 130, DIM))
    scores = queries @ faiss.extract_index_ivf(index).quantizer.reconstruct_n(0, 30).T
    theirs = np.take_along_axis(scores, truth["list"][:, :NEIGHBOURS].astype(int), axis=1)
    ranks = (scores[:, None, :] >= theirs[:, :, None]).sum(axis=2)
    assert question.probes() == np.quantile(ranks, WANTED, method="higher")
    assert question.first(1).probes() == np.quantile(ranks[:, :1], WANTED, method="higher")


def test_copies_of_an_image_stand_for_each_other(made: RandomVectors) -> None:
    key = made.embed(0, 400)
    copies = made.vectors(key)
    copies[100:300] = copies[100]
    with made.store.publish(layout.img_emb(key)) as part:
        vectors.write(part, [copies], *copies.shape)
    made.record_files(layout.EMBEDDINGS, key)
    made.set(index={"flat_limit": 100})
    made.index()
    for reaches in newest(made).reach["image"].values():
        assert for_target(reaches, DEFAULT).recall >= DEFAULT - 0.02


@pytest.mark.usefixtures("hasty")
def test_small_codes_are_put_right_by_the_vectors_themselves(made: RandomVectors) -> None:
    made.embed(0, 3500, dim=256)
    made.set(index={"flat_limit": 1, "max_memory_bytes": 2**20, "least_recall": 0})
    made.index()
    version = newest(made)
    assert version.key.endswith("RaBitQ")
    reported = for_target(version.reach["image"]["text"], DEFAULT).recall
    assert reported > recall_of_codes(made, version) + 0.2
    assert reported == pytest.approx(true_recall(made, "image", "text", DEFAULT), abs=0.06)
    # A few more vectors: what codes lose is not searched for again, and what is told stays true.
    made.embed(1, 25, dim=256)
    made.index()
    assert (version.since_searched, newest(made).since_searched) == (0, 25)
    known = for_target(newest(made).reach["image"]["text"], DEFAULT)
    before = for_target(version.reach["image"]["text"], DEFAULT)
    assert known.lost == pytest.approx(before.lost * 3525 / 3500, abs=1e-6)
    assert known.lost > before.lost > 0
    assert known.recall == pytest.approx(true_recall(made, "image", "text", DEFAULT), abs=0.06)
    # Codes that lose much are searched when far fewer came than is right for others.
    made.embed(2, 600, dim=256)
    made.index()
    assert newest(made).since_searched == 0


@pytest.mark.usefixtures("hasty")
def test_codes_that_lose_nothing_are_searched_when_a_third_is_new(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    since: list[int | None] = []
    for number, rows in enumerate((1_400, 300, 300, 300)):
        made.embed(number, rows)
        made.index()
        since.append(newest(made).since_searched)
    assert since == [0, 300, 600, 0]


def recall_of_codes(made: RandomVectors, version: Version) -> float:
    """What tools find that look into every list and know nothing of the vectors themselves."""
    stored = made.vectors(layout.partition_key(0)).astype("f4")
    queries = made.vectors(layout.partition_key(0), "text").astype("f4")[::50]
    with made.store.local(layout.index(version.name, "image")) as file:
        index: Any = faiss.read_index(str(file))
    faiss.extract_index_ivf(index).nprobe = 10**6
    _, ids = index.search(queries, NEIGHBOURS)
    exact = np.argsort(np.negative(queries @ stored.T), axis=1)[:, :NEIGHBOURS]
    shared = [len({*one} & {*two}) for one, two in zip(exact.tolist(), ids.tolist(), strict=True)]
    return sum(shared) / exact.size


@pytest.mark.parametrize("rows", [2, 10])
def test_pools_too_small_to_calibrate_are_searched_whole(made: RandomVectors, rows: int) -> None:
    made.set(index={"flat_limit": 1})
    made.embed(0, rows)
    made.index()
    reach = newest(made).reach["text"]["image"][0]
    assert reach == Reach(TARGETS[0], 2.0, 1.0, 0.0, 1.0, RANKS[0], lost_afar=0.0)


@pytest.mark.usefixtures("hasty")
def test_measuring_is_the_same_every_time(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 2000)
    made.index()
    first = newest(made)
    made.embed(1, 10)
    made.index()
    made.forget(layout.partition_key(1))
    made.index()
    assert newest(made).reach == first.reach


@pytest.mark.usefixtures("hasty")
def test_an_index_that_finds_too_little_is_not_served(made: RandomVectors) -> None:
    made.embed(0, 20_000, dim=64)
    made.set(index={"flat_limit": 20_000})
    before = made.index()
    small = {"flat_limit": 1, "max_memory_bytes": 2**20}
    made.set(index=small)
    with pytest.raises(CheckFailedError, match=r"recall 0.*expected 0.900 at least.*00001"):
        made.index()
    assert versions.merged(made.store) == [before]
    made.set(index=small | {"most_recall_lost": 1, "least_recall": 0.85})
    with pytest.raises(CheckFailedError, match=r"expected 0.850 at least"):
        made.merge()
    assert versions.current(made.store) == before


def test_a_recall_beyond_what_can_be_asked_for_is_refused(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 500)
    made.index()
    query = made.vectors(layout.partition_key(0))[0]
    with Searcher.open(made.pool) as searcher:
        assert searcher.search(query, recall_target=0.99)[0].id == 0
        with pytest.raises(ConfigurationError, match=r"recall_target.*0.999.*at most 0.99"):
            searcher.search(query, recall_target=0.999)
