"""Whole vectors put the candidates of codes in order from afar, few of them, by byte ranges."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from huggingface_hub import constants

from clip_assets import layout, schemas
from clip_assets.errors import SchemaError, SourceChangedError, SourceError
from clip_assets.files import far_ranges, kept
from clip_assets.index import index_recipe, trials
from clip_assets.index.effort import afar
from clip_assets.index.effort.afar import RANGES
from clip_assets.index.far import far_vectors
from clip_assets.layout import WHOLE
from clip_assets.pool.pool import Pool
from clip_assets.publishing.hub_dataset import hub_dataset
from clip_assets.publishing.vector_places import hub_places
from clip_assets.publishing.version_file import as_published, hub_version
from clip_assets.retrieval.hits import Hit
from clip_assets.retrieval.published_search import PublishedSearcher
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import Nearest
from clip_assets.service.hosting.described import indices
from clip_assets.service.hosting.hosted import Hosting
from clip_assets.service.hosting.hosted_published import HostedPublished
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.visible import Visible
from clip_assets.stats.metadata_stats import metadata_stats
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.index.conftest import RandomVectors, directions
from clip_assets_tests.servers import Hub
from clip_assets_tests.vectors import Floats
from clip_assets_tests.websites import Site

DIM, ROWS, PARTITIONS = 128, 1_300, 3
NAME = "we/pairs"
PLACES = as_published(hub_places())
QUERIES = directions("far", 4, DIM)
RESERVED = {*range(0, 40, 3), 1_023, 1_024, *range(1_100, 1_300)}
"""Rows of each partition that are not published."""


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> RandomVectors:
    """A pool whose index has codes, on this machine; most of it is published."""
    made = RandomVectors(Store.open(str(tmp_path_factory.mktemp("pool"))))
    made.set(index={"flat_limit": 10, "max_memory_bytes": 2**20}, hub={"repository": NAME})
    for number in range(PARTITIONS):
        key = made.embed(number, ROWS, dim=DIM)
        rows = [
            {name: row[name] for name in ("uid", "url")}
            | {"text": row["caption"], "status": "success"}
            | {"opt_outs": ["tdm_reservation"] if place in RESERVED else []}
            for place, row in enumerate(made.rows(key, ROWS))
        ]
        table = pa.Table.from_pylist(rows, schemas.POOL_ROWS)
        files = {layout.pool_rows(key): partial(tables.write, table=table)}
        made.make(layout.POOL_METADATA, key, ROWS, files)
    with pytest.MonkeyPatch.context() as patch:
        # Neither is what is tested here, and both take long.
        patch.setattr(trials, "LEAST_VECTORS", 10**9)
        patch.setattr(index_recipe, "QUERIES", 40)
        made.index()
    metadata_stats(made.pool, WHOLE)
    hub_dataset(made.pool, WHOLE)
    return made


@pytest.fixture(scope="module")
def images(near: RandomVectors) -> Floats:
    """The vectors of images by id."""
    stored = [near.vectors(layout.partition_key(number)) for number in range(PARTITIONS)]
    return np.concatenate(stored).astype(np.float32)


@pytest.fixture
def far(near: RandomVectors, site: Site) -> Pool:
    """The pool behind a server whose answers take 50 ms."""
    return near.behind(site)


@pytest.fixture
def data_set(near: RandomVectors, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of the data set, on a hub whose answers take 50 ms."""
    root = Path(near.store.base, layout.HUB)
    files = [path for path in root.rglob("*") if path.is_file()]
    hub.files[NAME] = {str(path.relative_to(root)): path.read_bytes() for path in files}
    hub.latency_s = 0.05
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    return hub.files[NAME]


@pytest.fixture
def published(data_set: dict[str, bytes]) -> Iterator[PublishedSearcher]:
    assert data_set
    with PublishedSearcher.at(f"hf://datasets/{NAME}") as searcher:
        yield searcher


def is_exact(answer: Nearest, images: Floats) -> bool:
    true = np.einsum("qkd,qd->qk", images[answer.ids], QUERIES[: len(answer.ids)])
    return np.allclose(answer.similarities, true, atol=1e-6)


def test_a_far_pool_finds_what_a_near_one_finds(
    near: RandomVectors, far: Pool, site: Site, images: Floats
) -> None:
    with Searcher.open(near.pool) as here, Searcher.open(far) as there:
        assert "RaBitQ" in there.version.key
        there.search_many(QUERIES[:1], 10)
        there.rows(np.array([0, ROWS, 2 * ROWS]), ["uid"])
        for query in QUERIES[1:]:
            site.requests.clear()
            before = site.sent_bytes
            answer = there.search_many(query[None], 10)
            there.rows(answer.ids[0], ["uid", "url", "caption"])
            assert len(site.requests) <= RANGES
            assert site.sent_bytes - before <= 10_000_000
        answer = there.search_many(QUERIES, 10)
        assert is_exact(answer, images)
        assert np.array_equal(answer.ids, here.search_many(QUERIES, 10).ids)
        assert np.allclose(there.vectors(np.array([7, 3_000, 7])), images[[7, 3_000, 7]])


def test_a_data_set_is_searched_with_its_whole_vectors(
    published: PublishedSearcher, hub: Hub, images: Floats
) -> None:
    published.search(QUERIES[0], 10)
    found = 0
    for query in QUERIES[1:]:
        hub.requests.clear()
        hub.sent_bytes = 0
        hits = published.search(query, 10, recall_target=0.99)
        assert sum("/stored/" in told and "bytes=" in told for told in hub.requests) <= RANGES
        assert hub.sent_bytes <= 10_000_000
        is_published = ~np.isin(np.arange(len(images)) % ROWS, list(RESERVED))
        similar = np.where(is_published, images @ query, -1)
        best = np.argsort(-similar)[:10]
        found += len({hit.id for hit in hits} & set(best.tolist()))
        assert np.allclose([hit.similarity for hit in hits], similar[[hit.id for hit in hits]])
    assert found >= 0.9 * 10 * len(QUERIES[1:])
    hub.requests.clear()
    published.search_many(QUERIES[1:], 10, recall_target=0.99)
    assert not hub.requests


def test_what_is_kept_of_a_data_set_stays_within_its_bytes(
    data_set: dict[str, bytes], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.latency_s, found = 0, list[list[Hit]]()
    for most_bytes in (kept.MOST_BYTES, 30_000):
        monkeypatch.setattr(kept, "MOST_BYTES", most_bytes)
        with PublishedSearcher.at(f"hf://datasets/{NAME}") as searcher:
            for query in QUERIES[:2]:
                found.append(searcher.search(query, 10, recall_target=0.9))
                assert searcher._kept.size_bytes <= most_bytes
            assert {key[0] for key in searcher._kept._others} & {"rows", "vector", "list"}
    assert found[:2] == found[2:]
    assert data_set


def test_every_published_vector_is_where_it_is_said_to_be(
    near: RandomVectors, images: Floats
) -> None:
    with PublishedSearcher.at(str(Path(near.store.base, layout.HUB))) as here:
        ids = np.arange(len(images))
        vectors = here.vectors(ids)
        is_reserved = np.isin(ids % ROWS, list(RESERVED))
        assert np.array_equal(vectors[~is_reserved], images[~is_reserved])
        assert np.isnan(vectors[is_reserved]).all()
        assert is_exact(here.search_many(QUERIES, 10), images)


def test_what_was_published_by_an_earlier_release_is_ranked_by_codes(
    published: PublishedSearcher, data_set: dict[str, bytes], images: Floats
) -> None:
    del data_set[PLACES]
    answer = published.search_many(QUERIES, 10)
    assert (answer.ids >= 0).all()
    assert not is_exact(answer, images)


@pytest.mark.parametrize("damage", [b"no archive", b"PK\x05\x06" + bytes(18)])
def test_places_that_are_none_are_an_error(
    published: PublishedSearcher, data_set: dict[str, bytes], damage: bytes
) -> None:
    data_set[PLACES] = damage
    with pytest.raises(SchemaError, match=r"places\.npz.*Publish the data set anew"):
        published.search_many(QUERIES, 10)


def test_vectors_that_were_cut_off_are_an_error(far: Pool, site: Site) -> None:
    path = f"/pool/{layout.img_emb(layout.partition_key(1))}"
    site.files[path] = site.files[path][:-10_000]
    with (
        Searcher.open(far) as there,
        pytest.raises(SourceChangedError, match="in a file of 322,928"),
    ):
        there.search_many(QUERIES, 10)


def test_vectors_that_changed_are_an_error(
    far: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_vectors, "LOOK_S", 0)
    with Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 10)
        site.etags[f"/pool/{layout.img_emb(layout.partition_key(1))}"] = '"2"'
        with pytest.raises(SourceChangedError, match="Open it again"):
            there.search_many(QUERIES[1:], 10)


def test_a_partition_that_is_embedded_anew_while_it_is_searched_is_ranked_by_codes(
    near: RandomVectors, far: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_vectors, "LOOK_S", 0)
    with Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 10)
        embedded_anew(near, site)
        site.etags[f"/pool/{layout.img_emb(layout.partition_key(1))}"] = '"2"'
        answer = there.search_many(QUERIES[1:], 50)
        assert np.isfinite(answer.similarities).all()
        assert (answer.ids // ROWS == 1).any()


def embedded_anew(near: RandomVectors, site: Site) -> None:
    """The second partition, as its manifest says it."""
    key = layout.partition_key(1)
    path = f"/pool/{layout.manifest(layout.EMBEDDINGS, key)}"
    digest = near.pool.catalog.require(layout.EMBEDDINGS, key).outputs[0].sha256
    site.files[path] = site.files[path].replace(digest.encode(), b"0" * 64)


def test_few_that_are_allowed_are_compared_one_by_one_and_no_list_is_read(
    far: Pool, site: Site, published: PublishedSearcher, hub: Hub, images: Floats
) -> None:
    allowed = np.array([45, 600, 1_000, 1_500, 2_700])
    best = allowed[np.argsort(-(QUERIES @ images[allowed].T), axis=1)]
    with Searcher.open(far) as there:
        for searcher in (there, published):
            answer = searcher.search_many(QUERIES, 10, allowed=allowed)
            assert np.array_equal(answer.ids, best)
            assert is_exact(answer, images)
    assert not any("image.index" in told for told in site.requests + hub.requests)


def test_bytes_that_are_no_vectors_are_an_error(
    published: PublishedSearcher, data_set: dict[str, bytes]
) -> None:
    path = as_published(layout.hub_rows(1))
    data_set[path] = data_set[path][:4] + data_set[path][5:-4] + b"xPAR1"
    with pytest.raises(SourceChangedError, match="no vector of length 1"):
        published.search_many(QUERIES, 10)


def test_a_server_that_knows_no_ranges_any_more_is_an_error(
    far: Pool, site: Site, images: Floats
) -> None:
    with Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 10)
        site.knows_ranges = False
        with pytest.raises(SourceError, match="knows ranges"):
            there.vectors(np.arange(500, 502))
    assert len(images)


def test_a_partition_that_was_embedded_anew_is_ranked_by_codes(
    near: RandomVectors, far: Pool, site: Site
) -> None:
    embedded_anew(near, site)
    with Searcher.open(far) as there:
        vectors = there.vectors(np.array([0, ROWS, 2 * ROWS]))
        assert np.isnan(vectors[:, 0]).tolist() == [False, True, False]
        answer = there.search_many(QUERIES, 50)
        assert np.isfinite(answer.similarities).all()
        assert (answer.ids // ROWS == 1).any()


def test_lists_vectors_and_rows_of_a_query_stay_within_what_it_may_ask_for() -> None:
    for ranges in range(afar.MOST_LISTS + 1):
        for k in (1, 10, 40, 100, 1_000):
            assert ranges + afar.vectors(k, ranges) <= RANGES
        assert ranges + afar.vectors(10, ranges) + 10 <= RANGES
    assert afar.vectors(10, 20) == 120
    assert afar.vectors(50, 20) == 100  # two for each result, which rows make room for
    assert afar.vectors(100, 20) == 130


@pytest.mark.parametrize("k", [1, 40, 70, 100, 200, 1_000])
def test_a_search_for_any_number_of_results_stays_within_its_ranges(
    far: Pool, site: Site, images: Floats, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a large pool, where hardly a vector lies beside another one.
    monkeypatch.setattr(far_ranges, "NEIGHBOUR_BYTES", 0)
    site.answers_slowly = False
    with Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 1)
        for query in QUERIES[1:]:
            site.requests.clear()
            answer = there.search_many(query[None], k, recall_target=0.99)
            lists, of_vectors = (asked(site, name) for name in ("image.index", ".npy"))
            assert lists + of_vectors <= RANGES
            assert (answer.ids >= 0).all()
            assert (np.diff(answer.similarities) <= 0).all()
            is_true = np.isclose(images[answer.ids[0]] @ query, answer.similarities[0], atol=1e-6)
            # Of few results all were looked at; of many those that are best by their codes.
            assert is_true.all() if k <= 70 else is_true.any()
            assert k < 200 or not is_true.all()


def asked(site: Site, name: str) -> int:
    """Ranges of files of such a name."""
    return sum(name in told and "bytes=" in told for told in site.requests)


def test_a_search_stays_within_its_bytes(
    far: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_ranges, "NEIGHBOUR_BYTES", 0)
    monkeypatch.setattr(afar, "LISTS_BYTES", 10_000)
    monkeypatch.setattr(afar, "BYTES", 20_000)
    site.answers_slowly = False
    with Searcher.open(far) as there:
        there.search_many(QUERIES[:1], 10)
        for query in QUERIES[1:]:
            site.requests.clear()
            before = site.sent_bytes
            there.search_many(query[None], 100, recall_target=0.99)
            assert site.sent_bytes - before <= afar.BYTES
            assert asked(site, ".npy")


def test_a_search_among_ids_in_few_of_its_lists_ends(
    far: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(afar, "MOST_LISTS", 3)
    allowed = np.arange(0, PARTITIONS * ROWS, 20)
    with Searcher.open(far) as there:
        answer = there.search_many(QUERIES, 100, allowed=allowed)
        is_there = answer.ids >= 0
        assert (is_there.sum(axis=1) > 0).all()
        assert (is_there.sum(axis=1) < 100).all()  # and there are no more in those lists
        assert np.isin(answer.ids[is_there], allowed).all()
        assert asked(site, "image.index") < 30


def test_what_is_told_of_recall_is_that_of_a_search_from_afar(
    data_set: dict[str, bytes],
) -> None:
    path = as_published(hub_version())
    told = json.loads(data_set[path])
    first, second, *_ = told["version"]["reach"]["image"]["text"]
    first |= {"recall": 0.9, "lost": 0.01, "lost_afar": 0.11}
    del second["lost_afar"]  # of an earlier release
    data_set[path] = json.dumps(told).encode()
    hosting = Hosting([HostedPublished("far", f"hf://datasets/{NAME}")])
    [index] = indices(hosting, Offer(), Visible())
    hosting.close()
    assert [each["recall"] for each in index["recall"]["image"]["text"][:2]] == [0.8, None]
