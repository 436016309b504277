"""What failed transiently is fetched again, and nothing else changes."""

import hashlib
from dataclasses import replace

import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.download.image_shards import image_shards
from clip_assets.download.retry import due_urls, retry_failed
from clip_assets.errors import MissingArtifactError
from clip_assets.storage import tables
from clip_assets.storage.manifests import Output
from clip_assets.webdataset.write import end_tar, write_member
from clip_assets_tests.download.pairs import P, encode, read_rows, read_samples, unique_pairs
from clip_assets_tests.download.web import Web
from clip_assets_tests.upstream import MadeUp


@pytest.fixture
def finished(site: Web, made: MadeUp) -> MadeUp:
    """Three shards: in the second one answer is a 503 and one a 404, the others are images."""
    made.set(download={"retries": 0})
    urls = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(25)]
    site.serve("/13.jpg", status=503)
    site.serve("/17.jpg", status=404)
    unique_pairs(made, urls)
    image_shards(made.pool, P)
    site.requests.clear()
    return made


def test_only_transient_failures_are_asked_again_and_only_their_shard_changes(
    site: Web, finished: MadeUp
) -> None:
    store = finished.store
    before = {path: store.read_bytes(path) for path in store.list(layout.shard_folder(P))}
    first = finished.pool.catalog.require(layout.IMAGE_SHARDS, P)
    old = read_samples(store, 1)
    site.serve("/13.jpg", encode(size=(73, 40)))
    assert due_urls(finished.pool, P) == 1

    outcome = retry_failed(finished.pool, P)

    assert dict(site.requests) == {"/13.jpg": 1}
    for path in store.list(layout.shard_folder(P)):
        assert (store.read_bytes(path) == before[path]) == ("/00001" not in path)
    new = read_samples(store, 1)
    assert list(new) == sorted(new)
    assert {name: content for name, content in new.items() if name in old} == old
    assert set(new) - set(old) == {f"00000000013.{ending}" for ending in ("jpg", "json", "txt")}
    row = read_rows(store, 1)[3]
    assert (row["status"], row["error_class"], row["attempts"]) == ("success", None, 2)
    report = outcome.manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (25, 24, {"http_404": 1})
    assert (report.figures["retried"], report.figures["recovered"]) == (1, 1)
    again = finished.pool.catalog.require(layout.IMAGE_SHARDS, P)
    assert again.digest(layout.shard_tar) != first.digest(layout.shard_tar)
    assert len(again.outputs) == len(first.outputs)
    assert due_urls(finished.pool, P) == 0


def test_reasons_that_are_asked_for_are_the_only_ones(site: Web, finished: MadeUp) -> None:
    site.serve("/13.jpg", encode(size=(73, 40)))
    site.serve("/17.jpg", encode(size=(77, 40)))
    assert due_urls(finished.pool, P, ["dns", "http_404"]) == 1

    report = retry_failed(finished.pool, P, ["dns", "http_404"]).manifest.report

    assert dict(site.requests) == {"/17.jpg": 1}
    assert report.dropped == {"http_503": 1}


def test_a_shard_of_an_earlier_release_keeps_its_keys(site: Web, finished: MadeUp) -> None:
    """They had no partition's digits; images that are there are not embedded again for them."""
    with_shorter_keys(finished)
    old = read_samples(finished.store, 1)
    assert "000012.jpg" in old
    first = finished.pool.catalog.require(layout.IMAGE_SHARDS, P).digest(layout.shard_tar)
    assert retry_failed(finished.pool, P).manifest.report.figures["retried"] == 1
    assert finished.pool.catalog.require(layout.IMAGE_SHARDS, P).digest(layout.shard_tar) == first
    site.serve("/13.jpg", encode(size=(73, 40)))
    retry_failed(finished.pool, P)
    new = read_samples(finished.store, 1)
    assert set(new) - set(old) == {"000013.jpg", "000013.json", "000013.txt"}
    assert [row["key"] for row in read_rows(finished.store, 1)] == [
        f"{i:06d}" for i in range(10, 20)
    ]


def with_shorter_keys(made: MadeUp) -> None:
    """The shards of a partition as releases before this one wrote them."""
    store, catalog = made.store, made.pool.catalog
    before = catalog.require(layout.IMAGE_SHARDS, P)
    for number in range(3):
        samples = read_samples(store, number)
        with store.publish(layout.shard_tar(P, number)) as part, part.open("wb") as file:
            for name, content in samples.items():
                shorter = content.replace(b'"key": "00000', b'"key": "')
                write_member(file, name.removeprefix(P), shorter)
            end_tar(file)
        rows = pa.Table.from_pylist(
            [row | {"key": row["key"].removeprefix(P)} for row in read_rows(store, number)],
            schemas.SHARD_ROWS,
        )
        with store.publish(layout.shard_rows(P, number)) as part:
            tables.write(part, rows)
    contents = {output.path: store.read_bytes(output.path) for output in before.outputs}
    outputs = [
        Output(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    ]
    catalog.put(replace(before, outputs=outputs))


def test_a_partition_downloaded_whole_has_the_same_tars_as_one_retried(
    site: Web, finished: MadeUp
) -> None:
    site.serve("/13.jpg", encode(size=(73, 40)))
    retried = retry_failed(finished.pool, P).manifest.digest(layout.shard_tar)
    finished.store.delete(layout.manifest(layout.IMAGE_SHARDS, P))

    assert image_shards(finished.pool, P).manifest.digest(layout.shard_tar) == retried


def test_addresses_that_were_not_allowed_are_fetched_when_they_are(site: Web, made: MadeUp) -> None:
    made.set(download={"allow_hosts": []})
    unique_pairs(made, [site.serve(f"/{i}.jpg", encode()) for i in range(3)])
    assert image_shards(made.pool, P).manifest.report.dropped == {"private_address": 3}

    made.set(download={"allow_hosts": ["127.0.0.0/8"]})

    assert retry_failed(made.pool, P).manifest.report.rows_out == 3


def test_what_the_settings_obeyed_is_fetched_when_they_do_not(site: Web, made: MadeUp) -> None:
    said = [{"X_Robots_Tag": "noai"}, {"tdm_reservation": "1"}, {"Content_Usage": "train-ai=n"}]
    unique_pairs(made, [site.serve(f"/{i}", encode(), **tag) for i, tag in enumerate(said)])
    image_shards(made.pool, P)
    assert due_urls(made.pool, P) == 0

    made.set(download={"respect_noai": False, "respect_opt_outs": ["content_usage"]})
    report = retry_failed(made.pool, P).manifest.report

    assert (report.rows_out, report.dropped) == (2, {"policy_content_usage": 1})
    columns = ("x_robots_tag", "tdm_reservation", "content_usage")
    assert [row["opt_outs"] for row in read_rows(made.store, 0)] == [[name] for name in columns]


def test_what_a_broken_network_refused_is_fetched_again(
    site: Web, made: MadeUp, unused_url: str
) -> None:
    unique_pairs(made, [site.serve("/1.jpg", encode()), f"{unused_url}/2.jpg"])
    assert image_shards(made.pool, P).manifest.report.dropped == {"refused": 1}
    assert due_urls(made.pool, P) == 1


def test_nothing_to_retry_changes_nothing(site: Web, finished: MadeUp) -> None:
    site.serve("/13.jpg", encode(size=(73, 40)))
    retry_failed(finished.pool, P)
    site.requests.clear()

    assert retry_failed(finished.pool, P).reused
    assert not site.requests


def test_urls_tried_too_often_and_too_recently_are_left_alone(site: Web, finished: MadeUp) -> None:
    finished.set(download={"retry_age_s": 3600})
    assert due_urls(finished.pool, P) == 0
    assert retry_failed(finished.pool, P).reused

    finished.set(download={"retry_age_s": 0, "retry_limit": 3})
    assert not retry_failed(finished.pool, P).reused
    assert due_urls(finished.pool, P) == 1
    assert not retry_failed(finished.pool, P).reused
    assert due_urls(finished.pool, P) == 0
    assert retry_failed(finished.pool, P).reused
    assert dict(site.requests) == {"/13.jpg": 2}
    assert read_rows(finished.store, 1)[3]["attempts"] == 3


def test_a_retry_that_recovers_nothing_says_so(finished: MadeUp) -> None:
    figures = retry_failed(finished.pool, P).manifest.report.figures

    assert (figures["retried"], figures["recovered"]) == (1, 0)


def test_a_stale_partition_is_downloaded_anew(site: Web, finished: MadeUp) -> None:
    finished.set(download={"image_size": 20})
    assert due_urls(finished.pool, P) == 0
    retry_failed(finished.pool, P)

    assert len(site.requests) == 25


def test_a_partition_without_pairs_cannot_be_retried(made: MadeUp) -> None:
    assert due_urls(made.pool, P) == 0
    with pytest.raises(MissingArtifactError, match="clip-assets run --select unique_pairs"):
        retry_failed(made.pool, P)
