"""Every shard has the index of its tar, through retries, kills and damage."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.download.damaged_shards import fetch_damaged
from clip_assets.download.image_shards import image_shards, image_shards_inputs
from clip_assets.download.retry import retry_failed
from clip_assets.retrieval.images import Images
from clip_assets.webdataset.indices import Tar, index_of, kept_folder
from clip_assets_tests.download.pairs import P, encode, read_rows, read_samples, unique_pairs
from clip_assets_tests.download.web import Web
from clip_assets_tests.upstream import MadeUp

SHARDS = range(3)


@pytest.fixture
def finished(site: Web, made: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """Three shards: an answer in the second is a 503, all in the third are a 404."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.set(download={"retries": 0})
    urls = [site.serve(f"/{i}.jpg", encode(size=(50 + i, 40))) for i in range(20)]
    site.serve("/13.jpg", status=503)
    unique_pairs(made, [*urls, *(site.serve(f"/{i}.jpg", status=404) for i in range(20, 23))])
    image_shards(made.pool, P)
    return made


def check(made: MadeUp) -> None:
    """Of every shard, the index is published and is what its tar says."""
    manifest = made.pool.catalog.require(layout.IMAGE_SHARDS, P)
    published = [output.path for output in manifest.of_kind(layout.tar_index)]
    assert published == [layout.tar_index(P, number) for number in (0, 1)]
    assert made.store.list(layout.TAR_INDEX) == published
    shards = [Tar.of_shard(made.store, P, number) for number in (0, 1)]
    found = [index_of(shard) for shard in shards]
    assert not kept_folder().exists(), "those beside the tars are found"
    for shard, index in zip(shards, found, strict=True):
        of_tar = index_of(replace(shard, rows="", index=""))
        assert index.members.to_pylist() == of_tar.members.to_pylist()
        assert index.tar_bytes == of_tar.tar_bytes
    for path in kept_folder().iterdir():
        path.unlink()
    kept_folder().rmdir()


def test_images_are_read_by_the_indices_of_their_shards(finished: MadeUp) -> None:
    check(finished)
    images = Images(finished.store)
    for number in SHARDS:
        members = read_samples(finished.store, number)
        for row in read_rows(finished.store, number):
            if row["status"] == "success":
                path = f"{P}/{number:05d}/{row['key']}"
                assert images.read(path) == members[f"{row['key']}.jpg"]
    assert not kept_folder().exists()


def test_a_retry_brings_the_index_along(site: Web, finished: MadeUp) -> None:
    images = Images(finished.store)
    path = f"{P}/00001/00000000014"
    image = images.read(path)
    site.serve("/13.jpg", encode(size=(63, 40)))
    retry_failed(finished.pool, P)
    check(finished)
    assert images.read(path) == image
    assert images.read(f"{P}/00001/00000000013"), "by one who has read the old index"


def test_shards_of_an_earlier_release_are_kept_without(site: Web, finished: MadeUp) -> None:
    store = finished.store
    plan = {"inputs": image_shards_inputs(finished.pool, P), "due": {}, "successes": 0}
    work = layout.work(layout.IMAGE_SHARDS, P)
    store.write_bytes(f"{work}/plan.json", json.dumps(plan).encode())
    store.delete(layout.manifest(layout.IMAGE_SHARDS, P))
    store.delete(layout.tar_index(P, 0))
    site.requests.clear()
    manifest = image_shards(finished.pool, P).manifest
    assert not site.requests
    assert [o.path for o in manifest.of_kind(layout.tar_index)] == [layout.tar_index(P, 1)]


def test_indices_of_shards_that_are_no_more_are_removed(finished: MadeUp) -> None:
    finished.set(download={"samples_per_shard": 20})
    image_shards(finished.pool, P)
    assert finished.store.list(layout.TAR_INDEX) == [layout.tar_index(P, 0)]


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_a_damaged_index_is_made_from_the_tar(
    site: Web, finished: MadeUp, content: bytes | None
) -> None:
    path = layout.tar_index(P, 0)
    before = finished.store.read_bytes(path)
    finished.store.delete(path)
    if content is not None:
        finished.store.write_bytes(path, content)
    site.requests.clear()
    assert fetch_damaged(finished.pool, P, [path]).manifest.report.rows_out == 19
    check(finished)
    assert finished.store.read_bytes(path) == before
    assert not site.requests
