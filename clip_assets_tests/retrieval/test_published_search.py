"""What was published is searched where it lies: in a folder, and on a hub by byte ranges."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from clip_assets import cli, layout
from clip_assets.errors import (
    ConfigurationError,
    ModelLoadError,
    SourceChangedError,
    SourceError,
    StorageFullError,
)
from clip_assets.retrieval.published_rows import PublishedRange
from clip_assets.retrieval.published_search import PublishedSearcher
from clip_assets.retrieval.queries import Uid
from clip_assets.retrieval.search import Searcher
from clip_assets.service.hosting.hosted import Hosting
from clip_assets.storage.store import Store
from clip_assets.storage.uids import pairs
from clip_assets_tests.publishing.conftest import Published, full_disk_folder
from clip_assets_tests.retrieval.conftest import direction
from clip_assets_tests.servers import Hub
from clip_assets_tests.service.conftest import search, serving

__all__ = ["full_disk_folder"]

NAME = "we/pairs"
PLACE = f"hf://datasets/{NAME}"
CAPTIONS = [["caption 3", *(f"{p} {n}" for n in range(399))] for p in range(3)]
QUERIES = np.stack([direction(f"{n} {7 * n}".encode()) for n in range(3)])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A pool with lists, published; ``caption 3`` is not."""
    made = Published(Store.open(str(tmp_path_factory.mktemp("pool"))), CAPTIONS, flat_limit=10)
    made.published()
    return made


@pytest.fixture(scope="module")
def folder(pool: Published) -> Path:
    return Path(pool.store.base, layout.HUB)


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def place(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data set on a hub, each of whose answers takes 50 ms."""
    hub.files[NAME] = files_in(folder)
    hub.latency_s = 0.05
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    return PLACE


@pytest.fixture
def far(place: str) -> Iterator[PublishedSearcher]:
    with PublishedSearcher.at(place) as searcher:
        yield searcher


def test_a_folder_is_searched_with_the_results_of_the_pool(pool: Published, folder: Path) -> None:
    with PublishedSearcher.at(str(folder)) as searcher, Searcher.open(pool.pool) as whole:
        assert searcher.version.vectors == 1_197
        for query in QUERIES:
            here = searcher.search(query, 5, recall_target=0.99)
            there = whole.search(query, 200, recall_target=0.99)
            known = {(hit.uid, hit.id, hit.url, hit.caption) for hit in there}
            assert {(hit.uid, hit.id, hit.url, hit.caption) for hit in here} <= known
            assert {hit.image_path for hit in here} == {None}


def test_what_is_not_published_is_found_by_nothing(folder: Path) -> None:
    with PublishedSearcher.at(str(folder)) as searcher:
        gone = direction(b"caption 3")
        assert "caption 3" not in {hit.caption for hit in searcher.search(gone, 50)}
        assert searcher.ids([Published.uid("caption 3")]).tolist() == [-1]
        assert searcher.rows(np.array([0]), ["uid", "caption"]).to_pylist() == [
            {"uid": None, "caption": None}
        ]


def test_a_hub_is_asked_for_few_ranges_side_by_side(far: PublishedSearcher, hub: Hub) -> None:
    far.search(QUERIES[0], 10, recall_target=0.9)
    whole = len(hub.files[NAME]["faiss/image.index"])
    for query in QUERIES[1:]:
        hub.requests.clear()
        hub.sent_bytes = 0
        hits = far.search(query, 10, recall_target=0.9)
        assert len(hits) == 10
        assert 0 < len(hub.requests) <= 150
        assert hub.sent_bytes < min(10_000_000, whole + 3 * 10 * 200_000)
    assert max(hits, key=lambda hit: hit.similarity).caption == "2 14"


def test_what_was_read_is_not_read_again(far: PublishedSearcher, hub: Hub) -> None:
    far.search_many(QUERIES, 10)
    hub.requests.clear()
    far.search_many(QUERIES, 10)
    assert hub.requests == []


def test_a_pair_is_searched_by_its_published_vector(far: PublishedSearcher) -> None:
    first, *_ = far.search(Uid(Published.uid("1 5")), 3)
    assert first.caption == "1 5"


def test_a_range_of_which_everything_was_taken_down_has_no_rows(tmp_path: Path) -> None:
    vectors = pa.array([], pa.list_(pa.float16(), 4))
    columns = {"i": pa.array([], pa.int64()), "uid": pa.array([], pa.string())}
    pq.write_table(pa.table(columns | {"image_embedding": vectors}), tmp_path / "0.parquet")
    wanted = pairs(pa.chunked_array([["0" * 32]], pa.string()))
    with ExitStack() as stack:
        published = PublishedRange(tmp_path / "0.parquet", 5, "0.parquet", stack)
        assert published.take(np.array([0, 1]), ["uid"])["uid"].null_count == 2
        assert np.isnan(published.vectors(np.array([1]), "image", 4)).all()
        assert published.find(wanted).tolist() == [-1]
        assert not len(published.every(wanted))


def test_a_private_data_set_is_opened_by_a_token(
    place: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    with pytest.raises(SourceError):
        PublishedSearcher.at(place)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with PublishedSearcher.at(place) as searcher:
        assert searcher.search(QUERIES[0], 1)


def test_a_file_that_changed_is_an_error(far: PublishedSearcher, hub: Hub) -> None:
    far.search_many(QUERIES[:1], 3, recall_target=0.9)
    hub.files[NAME]["faiss/image.index"] += b"more"
    with pytest.raises(SourceChangedError, match="as when it was opened"):
        far.search_many(QUERIES, 10, recall_target=0.99)


def test_a_name_that_is_no_repository_is_an_error(hub: Hub) -> None:
    with pytest.raises(SourceError, match="must be 'namespace/name'"):
        PublishedSearcher.at("hf://datasets/nobody")
    assert not hub.requests


def test_a_server_without_ranges_is_an_error(place: str, hub: Hub) -> None:
    hub.knows_ranges = False
    with pytest.raises(SourceError, match="one that knows ranges"):
        PublishedSearcher.at(place)


def test_what_nobody_published_so_is_an_error_that_says_what_is_lacking(
    place: str, hub: Hub
) -> None:
    del hub.files[NAME]["faiss/version.json"]
    with pytest.raises(ConfigurationError, match=r"no faiss/version\.json"):
        PublishedSearcher.at(place)


def test_an_exact_index_is_copied_and_a_full_disk_is_told(
    tmp_path: Path, place: str, hub: Hub, full_disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Published(Store.open(str(tmp_path / "exact")), [[f"{n}" for n in range(300)]])
    made.published()
    hub.files[NAME] = files_in(Path(made.store.base, layout.HUB))
    with PublishedSearcher.at(place) as searcher:
        assert searcher.search(direction(b"7"), 1)[0].caption == "7"
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk_folder))
    with PublishedSearcher.at(place) as searcher, pytest.raises(StorageFullError):
        searcher.search(direction(b"7"), 1)


@pytest.mark.parametrize(("model", "pretrained"), [("local-dir:/etc", None), ("words", "/a/b.pt")])
def test_no_file_is_loaded_that_a_data_set_names(
    place: str, hub: Hub, model: str, pretrained: str | None
) -> None:
    told = json.loads(hub.files[NAME]["faiss/version.json"])
    told |= {"model": model, "pretrained": pretrained}
    hub.files[NAME]["faiss/version.json"] = json.dumps(told).encode()
    hub.files[NAME]["pool.yaml"] = b"inference: {model: local-dir:/etc}"
    with PublishedSearcher.at(place) as searcher:
        assert searcher.pool.settings.inference.model != "local-dir:/etc"
        with pytest.raises(ModelLoadError, match="which is not everybody's"):
            searcher.search("a text")


def test_the_command_prints_what_it_finds(place: str, hub: Hub, tmp_path: Path) -> None:
    hub.latency_s = 0
    np.save(tmp_path / "query.npy", QUERIES[2])
    words = ["search", "--root", place, "--embedding", str(tmp_path / "query.npy"), "-k", "2"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    assert "'2 14'" in result.output


def test_it_is_served_with_urls_and_without_images(place: str, hub: Hub) -> None:
    hub.latency_s = 0
    with serving(Hosting.of([place])) as served:
        answer = search(served, {"uid": Published.uid("2 14")}, k=2)
        [first, _] = answer["results"]
        assert first["uid"] == Published.uid("2 14")
        assert first["url"].startswith("http://h/")
        image = served.http.get(f"/v1/images/{Published.uid('2 14')}")
        assert image.status_code == 404
        assert "Use the url." in image.text


def test_a_data_set_that_is_published_anew_is_served(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name, content in files_in(folder).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    hosting = Hosting.of([str(copy)])
    [index] = hosting.indices.values()
    before = index.version
    told = (copy / "faiss/version.json").read_text().replace(before, "later")
    (copy / "faiss/version.json").write_text(told)
    index.follow()
    assert index.version == "later"
    hosting.close()
