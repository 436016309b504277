"""An index that lies behind a web server is searched by byte ranges, few of them and not large."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files import kept
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.search import Searcher
from clip_assets.storage.store import Store
from clip_assets_tests.index.conftest import RandomVectors, directions
from clip_assets_tests.websites import Site

DIM = 32
QUERIES = directions("far", 5, DIM)


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> RandomVectors:
    """A pool with lists, on this machine."""
    made = RandomVectors(Store.open(str(tmp_path_factory.mktemp("pool"))))
    made.set(index={"flat_limit": 10})
    for number in range(3):
        made.embed(number, 1_000, dim=DIM)
    made.index()
    return made


@pytest.fixture
def far(near: RandomVectors, site: Site) -> Pool:
    """The same pool behind a server whose answers take 50 ms."""
    return near.behind(site)


def test_a_far_index_finds_what_a_near_one_finds_in_few_ranges(
    near: RandomVectors, far: Pool, site: Site
) -> None:
    with Searcher.open(near.pool) as here, Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 10)
        whole = site.files[f"/pool/{layout.index(there.version.name, 'image')}"]
        for query in QUERIES[1:]:
            site.requests.clear()
            before = site.sent_bytes
            answer = there.search_many(query[None], 10, recall_target=0.9)
            assert site.sent_bytes - before < min(10_000_000, len(whole))
            rows = there.rows(answer.ids[0], ["uid", "url", "caption"])
            assert len(site.requests) <= 150
            expected = here.search_many(query[None], 200, recall_target=0.9)
            assert set(answer.ids[0].tolist()) <= set(expected.ids[0].tolist())
            assert (
                rows.to_pylist() == here.rows(answer.ids[0], ["uid", "url", "caption"]).to_pylist()
            )


def test_what_was_read_is_not_read_again(far: Pool, site: Site) -> None:
    with Searcher.open(far) as there:
        first = there.search_many(QUERIES, 10)
        site.requests.clear()
        assert np.array_equal(there.search_many(QUERIES, 10).ids, first.ids)
        assert not site.requests


def test_what_is_kept_stays_within_its_bytes_and_finds_the_same(
    near: RandomVectors, far: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Searcher.open(far) as there:
        expected = there.search_many(QUERIES, 10, recall_target=0.99).ids
        whole = there._kept.size_bytes
    monkeypatch.setattr(kept, "MOST_BYTES", whole // 2)
    with Searcher.open(far) as there:
        for query, ids in zip(QUERIES, expected, strict=True):
            assert np.array_equal(
                there.search_many(query[None], 10, recall_target=0.99).ids[0], ids
            )
            assert there.rows(ids, ["uid"]).num_rows == 10
            assert whole // 4 < there._kept.size_bytes <= whole // 2
        lists = [entry.value for key, entry in there._kept._others.items() if key[0] == "list"]
        assert lists
        # None is a piece of something larger, which would stay with it.
        assert all(len(content.base) == content.nbytes for content in lists)
    assert near


def test_searches_at_once_find_what_they_find_alone(
    far: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 60_000)
    with Searcher.open(far) as there, ThreadPoolExecutor(8) as threads:
        expected = there.search_many(QUERIES, 10, recall_target=0.9).ids
        every = [query[None] for query in QUERIES] * 8
        found = threads.map(lambda one: there.search_many(one, 10, recall_target=0.9).ids[0], every)
        assert np.array_equal(list(found), np.tile(expected, (8, 1)))


def test_a_file_that_changed_is_an_error(far: Pool, site: Site) -> None:
    with Searcher.open(far) as there:
        path = f"/pool/{layout.index(there.version.name, 'image')}"
        there.search_many(QUERIES[:1], 10, recall_target=0.9)
        site.etags[path] = '"2"'
        with pytest.raises(SourceChangedError, match="as when it was opened"):
            there.search_many(QUERIES, 10, recall_target=0.99)


def test_a_server_without_ranges_is_an_error(far: Pool, site: Site) -> None:
    site.knows_ranges = False
    with Searcher.open(far) as there, pytest.raises(SourceError, match="one that knows ranges"):
        there.search_many(QUERIES, 10)


def test_a_file_whose_head_is_damaged_is_an_error(far: Pool, site: Site) -> None:
    with Searcher.open(far) as there:
        path = f"/pool/{layout.index(there.version.name, 'image')}"
        site.files[path] = b"none" + site.files[path][4:]
        with pytest.raises(SourceError, match="no readable index"):
            there.search_many(QUERIES, 10)
