"""Among some ids exactly the best are found, and many queries find what each finds alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clip_assets.errors import ConfigurationError
from clip_assets.pool import takedowns
from clip_assets.retrieval import served_side
from clip_assets.retrieval.search import Searcher
from clip_assets.storage.store import Store
from clip_assets_tests.retrieval.conftest import Captions
from clip_assets_tests.vectors import Floats, unit_rows

THINGS, DIM = 900, 24


@pytest.fixture(scope="module", params=["exact", "lists"])
def pool(request: Any, tmp_path_factory: Any) -> Captions:
    """A pool of 900 things in two partitions, whose first index version had another second one."""
    made = Captions(Store.open(str(tmp_path_factory.mktemp("pool"))))
    made.set(index={"flat_limit": 1 if request.param == "lists" else THINGS * 2})
    made.add(0, [f"thing {n}" for n in range(THINGS - 100)])
    made.add(1, ["gone"] * 10)
    made.index()
    made.add(1, [f"thing {n}" for n in range(THINGS - 100, THINGS)])
    made.index()
    return made


@pytest.fixture
def searcher(pool: Captions) -> Iterator[Searcher]:
    with Searcher.open(pool.pool) as opened:
        yield opened


@pytest.fixture(params=["one by one", "in lists"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in lists":
        monkeypatch.setattr(served_side, "FEW", 0)
    return request.param


def ids_of(searcher: Searcher) -> np.ndarray:
    """All ids in use."""
    ranges = [np.arange(s.start, s.start + s.count) for s, _ in searcher.version.used]
    return np.concatenate(ranges)


def best(searcher: Searcher, query: Floats, allowed: np.ndarray, k: int) -> list[float]:
    """Similarities of the best, by the obvious definition."""
    return np.sort(searcher.vectors(allowed) @ query)[::-1][:k].tolist()


def test_what_is_taken_down_is_not_found_and_others_come_instead(
    pool: Captions, searcher: Searcher, way: str
) -> None:
    query = searcher.vectors(ids_of(searcher)[:1])[0]
    before = searcher.search_many(query[None], 20).ids[0]
    gone = before[[0, 3, 19]]
    named = searcher.rows(gone, ["uid"])["uid"].to_pylist()
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(pool.store, named, [], none, None)
    try:
        left = np.setdiff1d(ids_of(searcher), gone)
        for allowed in (None, ids_of(searcher)):
            found = searcher.search_many(query[None], 20, allowed=allowed)
            assert not np.isin(found.ids, gone).any()
            assert found.similarities[0].tolist() == pytest.approx(
                best(searcher, query, left, 20), abs=0.1 if way == "in lists" else 1e-5
            )
        assert searcher.search_many(query[None], THINGS).ids.shape == (1, THINGS - 3)
        assert searcher.ids(named).tolist() == [-1] * 3
        if way == "one by one":
            assert not np.isin(searcher.exactly(query[None], 20).ids, gone).any()
    finally:
        takedowns.undo(pool.store, named, [])
    assert searcher.search_many(query[None], 20).ids[0].tolist() == before.tolist()


@pytest.mark.parametrize("count", [1, 7, 300])
def test_of_allowed_ids_as_many_are_found_as_asked_for(
    searcher: Searcher, way: str, count: int
) -> None:
    allowed = np.sort(np.random.default_rng(count).choice(ids_of(searcher), count, replace=False))
    queries = unit_rows(count, 5, DIM)
    for k in (1, 10, count + 5):
        found = searcher.search_many(queries, k, allowed=allowed)
        assert found.ids.shape == found.similarities.shape == (5, min(k, count))
        assert np.isin(found.ids, allowed).all()
        assert all(len(np.unique(row)) == len(row) for row in found.ids)
        if way == "one by one" or k >= count:
            for query, similarities in zip(queries, found.similarities, strict=True):
                assert similarities.tolist() == pytest.approx(
                    best(searcher, query, allowed, k), abs=0.1 if way == "in lists" else 1e-5
                )


def test_many_queries_find_what_each_finds_alone(searcher: Searcher) -> None:
    queries = unit_rows(3, served_side.BATCH + 3, DIM)
    found = searcher.search_many(queries, 12, kind="text")
    for place in (0, served_side.BATCH - 1, served_side.BATCH, len(queries) - 1):
        alone = searcher.search_many(queries[place : place + 1], 12, kind="text")
        assert found.ids[place].tolist() == alone.ids[0].tolist()
        assert found.similarities[place] == pytest.approx(alone.similarities[0], abs=1e-5)


def test_no_queries_and_no_allowed_ids_find_nothing(searcher: Searcher) -> None:
    assert searcher.search_many(np.empty((0, DIM), np.float32), 5).ids.shape == (0, 5)
    nothing = searcher.search_many(unit_rows(1, 2, DIM), 5, allowed=np.empty(0, np.int64))
    assert nothing.ids.shape == (2, 0)
    assert searcher.search("thing 5", allowed=np.empty(0, np.int64)) == []


def test_a_search_among_some_pairs_gives_their_rows(searcher: Searcher, way: str) -> None:
    allowed = ids_of(searcher)[::3]
    hits = searcher.search("thing 6", k=5, allowed=allowed)
    assert (hits[0].caption, len(hits)) == ("thing 6", 5)
    assert "thing 6" not in {h.caption for h in searcher.search("thing 6", allowed=allowed[3:])}


def test_ids_that_are_gone_are_not_found_though_they_are_allowed(
    searcher: Searcher, way: str
) -> None:
    every = np.arange(ids_of(searcher).max() + 1)
    assert len(every) == THINGS + 10
    found = searcher.search_many(unit_rows(2, 1, DIM), THINGS + 5, allowed=every)
    assert sorted(found.ids[0].tolist()) == ids_of(searcher).tolist()


@pytest.mark.parametrize("allowed", [[3, 2], [2, 2], [-1, 4], [5, 10**6], [[1, 2]]], ids=str)
def test_wrong_ids_are_refused(searcher: Searcher, allowed: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="ascending, each once"):
        searcher.search("thing 1", allowed=np.array(allowed))


def test_vectors_of_another_width_are_refused(searcher: Searcher) -> None:
    with pytest.raises(ConfigurationError, match=r"\(2, 23\)"):
        searcher.search_many(np.ones((2, 23), np.float32))


def test_vectors_that_are_not_finite_are_refused(searcher: Searcher) -> None:
    with pytest.raises(ConfigurationError, match="not finite"):
        searcher.search_many(np.full((2, DIM), np.nan, np.float32))


def test_where_vectors_are_others_by_now_allowed_ids_are_found_by_their_codes(
    made: Captions,
) -> None:
    made.add(0, [f"thing {n}" for n in range(300)])
    made.set(index={"flat_limit": 1})
    made.index()
    with Searcher.open(made.pool) as before:
        expected = before.search_many(unit_rows(5, 3, DIM), 4, allowed=np.arange(0, 300, 7))
    made.add(0, [f"other {n}" for n in range(300)])
    with Searcher.open(made.pool) as after:
        found = after.search_many(unit_rows(5, 3, DIM), 4, allowed=np.arange(0, 300, 7))
    assert found.ids.tolist() == expected.ids.tolist()
