"""Shards that are embedded while the next ones are fetched give what the two stages give."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clip_assets import layout
from clip_assets.download.image_shards import image_shards
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import StorageFullError
from clip_assets.inference.embedding_ahead import embedding_ahead
from clip_assets.inference.embeddings import embeddings
from clip_assets.settings import InferenceSettings
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store
from clip_assets_tests.download.pairs import P, encode, unique_pairs
from clip_assets_tests.download.web import Web, serving
from clip_assets_tests.servers import Bucket
from clip_assets_tests.upstream import MadeUp

SHARDS, PER_SHARD, NEVER_S = 4, 6, 1000

FUSED = """
import sys
from clip_assets import graph
from clip_assets.download.image_shards import image_shards
from clip_assets.inference.embedding_ahead import embedding_ahead
from clip_assets.pool.pool import Pool
from clip_assets.settings import Settings
from clip_assets.storage.store import Store

pool = Pool(Store.open(sys.argv[1]), Settings.model_validate_json(sys.argv[2]), graph.ASSETS)
with embedding_ahead(pool):
    image_shards(pool, sys.argv[3])
"""


@pytest.fixture
def site() -> Iterator[Web]:
    with serving() as found:
        yield found


@pytest.fixture
def urls(site: Web) -> list[str]:
    """Of images, all different, and of one that is not there."""
    count = SHARDS * PER_SHARD
    pages = [site.serve(f"/{i}.jpg", encode(size=(40 + i, 32))) for i in range(count)]
    site.serve("/3.jpg", status=404)
    return pages


@pytest.fixture
def new_pool(
    inference: InferenceSettings, encoder: Encoder, urls: list[str]
) -> Callable[..., MadeUp]:
    """A pool in a store: of the first ``pairs``, with ``encoder`` instead of the small model."""

    def new(store: Store, **other: Any) -> MadeUp:
        download = {"allow_hosts": ["127.0.0.0/8"], "samples_per_shard": PER_SHARD, "retries": 0}
        made = MadeUp(
            store,
            encoder=other.get("encoder", lambda: encoder),
            devices="none",
            inference=inference.model_dump(),
            download=download,
        )
        unique_pairs(made, urls[: other.get("pairs")])
        return made

    return new


def two_stages(made: MadeUp) -> tuple[Manifest, Manifest]:
    pool = made.pool
    return image_shards(pool, P).manifest, embeddings(pool, P).manifest


def fused(made: MadeUp) -> tuple[Manifest, Manifest]:
    pool = made.pool
    with embedding_ahead(pool) as paces:
        shards = image_shards(pool, P).manifest
    return shards, embeddings(pool, P, paces.get(P)).manifest


def bytes_of(manifests: tuple[Manifest, Manifest]) -> list[tuple[str, str]]:
    """Digests of the tars and of everything that is made of them."""
    shards, vectors = manifests
    outputs = [*shards.of_kind(layout.shard_tar), *vectors.outputs]
    return sorted((output.path, output.sha256) for output in outputs)


@pytest.fixture
def expected(new_pool: Callable[..., MadeUp], tmp_path: Path) -> tuple[Manifest, Manifest]:
    """What the two stages make."""
    return two_stages(new_pool(Store.open(str(tmp_path / "two stages"))))


def test_bytes_are_those_of_the_two_stages(
    new_pool: Callable[..., MadeUp], store: Store, expected: tuple[Manifest, Manifest]
) -> None:
    found = fused(new_pool(store))
    assert bytes_of(found) == bytes_of(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.inputs, one.code_version) == (other.inputs, other.code_version)
        assert (one.report.rows_in, one.report.rows_out) == (other.report.rows_in, 23)
        assert one.report.dropped == other.report.dropped
    figures = found[1].report.figures
    assert (figures["chunks_ahead"], figures["chunks_resumed"]) == (SHARDS, 0)
    assert figures["images_per_s"] > 0
    assert not store.list("work")


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_shards_are_not_read_back_from_a_bucket(
    new_pool: Callable[..., MadeUp], bucket: Bucket
) -> None:
    sent: list[int] = []
    for name, make in (("two", two_stages), ("fused", fused)):
        made = new_pool(Store.open(f"{bucket.url}/{name}"))
        before = bucket.relay.sent_bytes
        shards, _ = make(made)
        sent.append(bucket.relay.sent_bytes - before)
    tars = sum(output.size_bytes for output in shards.of_kind(layout.shard_tar))
    assert sent[0] - sent[1] == pytest.approx(tars, rel=0.2)


def test_a_killed_run_goes_on_after_its_last_shard_and_chunk(
    new_pool: Callable[..., MadeUp],
    local_store: Store,
    expected: tuple[Manifest, Manifest],
    site: Web,
) -> None:
    made = new_pool(local_store)
    root, last = Path(local_store.base), SHARDS * PER_SHARD - 1
    answer = site.pages[f"/{last}.jpg"]
    site.serve(f"/{last}.jpg", delay_s=NEVER_S)
    arguments = [str(root), made.settings.model_dump_json(exclude={"root"}), P]
    process = subprocess.Popen([sys.executable, "-c", FUSED, *arguments])
    work = root / layout.work(layout.EMBEDDINGS, P)
    while len(chunks := list(work.glob("*.arrow"))) < SHARDS - 1:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    inodes = {chunk.name: chunk.stat().st_ino for chunk in chunks}
    assert made.pool.catalog.get(layout.IMAGE_SHARDS, P) is None

    site.pages[f"/{last}.jpg"] = answer
    asked = dict(site.requests)
    pool = made.pool
    with embedding_ahead(pool) as paces:
        shards = image_shards(pool, P).manifest
    assert {chunk.name: chunk.stat().st_ino for chunk in work.glob("*.arrow")}.items() > (
        inodes.items()
    )
    vectors = embeddings(pool, P, paces.get(P)).manifest
    assert bytes_of((shards, vectors)) == bytes_of(expected)
    assert {path for path in site.requests if site.requests[path] > asked[path]} == {f"/{last}.jpg"}
    figures = vectors.report.figures
    assert (figures["chunks_ahead"], figures["chunks_resumed"]) == (1, SHARDS - 1)


class Failing:
    """An encoder whose first calls raise."""

    def __init__(self, encoder: Encoder, error: Exception, times: int = 1) -> None:
        self._encoder = encoder
        self._error = error
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_images(self, images: Any) -> Any:
        if self._left:
            self._left -= 1
            raise self._error
        return self._encoder.encode_images(images)


def test_a_model_that_fails_loses_no_shard_and_is_tried_again(
    new_pool: Callable[..., MadeUp],
    local_store: Store,
    encoder: Encoder,
    expected: tuple[Manifest, Manifest],
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Failing(encoder, RuntimeError("the device is gone"), times=2)
    made = new_pool(local_store, encoder=lambda: failing)
    pool = made.pool
    with embedding_ahead(pool) as paces:
        shards = image_shards(pool, P).manifest
    assert f"embeddings {P}: not embedded ahead: RuntimeError: the device is gone" in caplog.text
    assert len(shards.of_kind(layout.shard_tar)) == SHARDS
    with pytest.raises(RuntimeError, match="the device is gone"):
        embeddings(pool, P, paces.get(P))
    assert made.pool.catalog.failure(layout.EMBEDDINGS, P)
    assert bytes_of((shards, embeddings(made.pool, P).manifest)) == bytes_of(expected)


def test_a_disk_too_full_for_vectors_damages_no_shard(
    new_pool: Callable[..., MadeUp],
    local_store: Store,
    encoder: Encoder,
    expected: tuple[Manifest, Manifest],
) -> None:
    error = StorageFullError("here", "no room", "room", "Make some.")
    made = new_pool(local_store, encoder=lambda: Failing(encoder, error, times=1))
    assert bytes_of(fused(made)) == bytes_of(expected)


def test_what_was_embedded_before_is_left_to_the_stage(
    new_pool: Callable[..., MadeUp], local_store: Store, site: Web
) -> None:
    made = new_pool(local_store)
    fused(made)
    made.set(download={"image_size": 24})
    _, vectors = fused(made)
    assert vectors.report.figures["chunks_ahead"] == 0
    assert vectors.report.rows_out == 23


class Waiting:
    """An encoder whose first image takes until it is told to go on."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.batch_size = encoder.batch_size
        self.is_told: Callable[[], object] = lambda: True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def preprocess(self, content: bytes) -> Any:
        while not self.is_told():
            time.sleep(0.01)
        return self._encoder.preprocess(content)


def test_who_is_asked_to_end_embeds_no_further_tar(
    new_pool: Callable[..., MadeUp], local_store: Store, encoder: Encoder
) -> None:
    waiting = Waiting(encoder)
    pool = new_pool(local_store, encoder=lambda: waiting, pairs=2 * PER_SHARD).pool
    waiting.is_told = lambda: pool.onlooker is None
    with suppress(KeyboardInterrupt), embedding_ahead(pool):
        image_shards(pool, P)
        raise KeyboardInterrupt
    assert len(local_store.list(layout.work(layout.EMBEDDINGS, P))) <= 1
    assert embeddings(pool, P).manifest.report.rows_out == 2 * PER_SHARD - 1


def test_who_is_asked_to_end_stops_in_the_middle_of_a_tar(
    new_pool: Callable[..., MadeUp], local_store: Store, encoder: Encoder
) -> None:
    waiting = Waiting(encoder)
    waiting.batch_size = 1  # so that less than the tar is read ahead of the first image
    made = new_pool(local_store, encoder=lambda: waiting)
    made.set(download={"samples_per_shard": SHARDS * PER_SHARD})
    pool = made.pool
    waiting.is_told = lambda: pool.onlooker is None
    with suppress(KeyboardInterrupt), embedding_ahead(pool):
        shards = image_shards(pool, P).manifest
        raise KeyboardInterrupt
    assert len(shards.of_kind(layout.shard_tar)) == 1
    assert not local_store.list(layout.work(layout.EMBEDDINGS, P))
