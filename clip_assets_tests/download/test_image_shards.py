"""A partition's pairs to its shards: samples, rows, counts, and what is kept of a killed run."""

import asyncio
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_assets import layout, schemas
from clip_assets.download.image_shards import image_shards, image_shards_inputs
from clip_assets.download.sample_keys import sample_key
from clip_assets.errors import ConfigurationError, DownloadError, MissingArtifactError
from clip_assets.layout import partition_key
from clip_assets.pool import takedowns
from clip_assets_tests.download.pairs import (
    P,
    encode,
    pairs_table,
    put_pairs,
    read_rows,
    read_samples,
    unique_pairs,
)
from clip_assets_tests.download.web import Web
from clip_assets_tests.upstream import MadeUp


def test_images_become_samples_and_failures_become_rows(site: Web, made: MadeUp) -> None:
    good = site.serve("/good.jpg", encode())
    urls = [good, site.url("/none.jpg"), site.serve("/page.jpg", b"<html></html>")]
    unique_pairs(made, urls, caption=["a ramp", "nothing", None])

    manifest = image_shards(made.pool, P).manifest

    (jpg, sample, text) = read_samples(made.store, 0).items()
    assert [name for name, _ in (jpg, sample, text)] == [
        f"00000000000.{ending}" for ending in ("jpg", "json", "txt")
    ]
    assert Image.open(io.BytesIO(jpg[1])).size == (320, 240)
    assert text[1] == b"a ramp"
    fields = json.loads(sample[1])
    assert list(fields) == [
        "uid", "caption", "url", "key", "status", "error_message", "width", "height",
        "original_width", "original_height", "exif", "sha256",
    ]  # fmt: skip
    assert fields["sha256"] == hashlib.sha256(encode()).hexdigest()
    rows = read_rows(made.store, 0)
    assert [row["status"] for row in rows] == ["success", "failed_to_download", "failed_to_resize"]
    assert [row["error_class"] for row in rows] == [None, "http_404", "not_an_image"]
    assert rows[1]["error_message"] == "HTTP Error 404: Not Found"
    stats = json.loads(made.store.read_bytes(layout.shard_stats(P, 0)))
    assert (stats["count"], stats["successes"], stats["failed_to_resize"]) == (3, 1, 1)
    assert manifest.report.balances
    assert manifest.report.dropped == {"http_404": 1, "not_an_image": 1}
    assert manifest.report.figures["success_rate"] == 0.3333
    sheet = made.store.read_bytes(manifest.report.pictures["contact sheet"])
    assert Image.open(io.BytesIO(sheet)).size == (768, 768)


def test_what_is_taken_down_is_not_asked_for(site: Web, made: MadeUp) -> None:
    urls = [site.serve(f"/{n}.jpg", encode()) for n in range(3)]
    unique_pairs(made, urls)
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(made.store, [], [urls[1]], none, None)
    report = image_shards(made.pool, P).manifest.report
    assert report.dropped == {"taken_down": 1}
    assert report.balances
    assert [row["error_class"] for row in read_rows(made.store, 0)] == [None, "taken_down", None]
    assert len(read_samples(made.store, 0)) == 6
    assert "/1.jpg" not in site.requests


def test_samples_are_in_input_order_and_their_bytes_do_not_change(site: Web, made: MadeUp) -> None:
    order = np.random.default_rng(0).permutation(25)
    urls = [
        site.serve(f"/{i}.jpg", encode(size=(50 + i, 40)), delay_s=0.01 * order[i])
        for i in range(25)
    ]
    unique_pairs(made, urls)

    image_shards(made.pool, P)
    first = [made.store.read_bytes(layout.shard_tar(P, n)) for n in range(3)]
    made.store.delete(layout.manifest(layout.IMAGE_SHARDS, P))
    image_shards(made.pool, P)

    assert [made.store.read_bytes(layout.shard_tar(P, n)) for n in range(3)] == first
    rows = [row for n in range(3) for row in read_rows(made.store, n)]
    assert [row["url"] for row in rows] == urls
    assert [row["key"] for row in rows] == [f"00000{i:06d}" for i in range(25)]
    keys = [name[:11] for n in range(3) for name in read_samples(made.store, n)]
    assert keys == sorted(keys)


def test_second_run_asks_no_server(site: Web, made: MadeUp) -> None:
    unique_pairs(made, [site.serve("/a.jpg", encode())])
    image_shards(made.pool, P)

    assert image_shards(made.pool, P).reused
    assert site.requests.total() == 1


def test_partition_without_pairs_has_no_shards(made: MadeUp) -> None:
    unique_pairs(made, [])
    manifest = image_shards(made.pool, P).manifest

    assert manifest.report.rows_in == 0
    assert manifest.outputs == []


def test_partition_without_unique_pairs_is_refused(made: MadeUp) -> None:
    with pytest.raises(MissingArtifactError, match="clip-assets run --select unique_pairs"):
        image_shards(made.pool, P)


def test_other_output_settings_make_a_partition_stale_and_manners_do_not(made: MadeUp) -> None:
    unique_pairs(made, [])
    before = image_shards_inputs(made.pool, P)

    made.set(download={"per_host": 1})
    assert image_shards_inputs(made.pool, P) == before
    made.set(download={"image_size": 64})
    assert image_shards_inputs(made.pool, P) != before
    assert image_shards_inputs(made.pool, partition_key(9))


def test_finished_shards_of_a_killed_run_are_kept(site: Web, made: MadeUp) -> None:
    store = made.store
    urls = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(25)]
    unique_pairs(made, urls)
    first = image_shards(made.pool, P).manifest
    # As a kill after the first shard leaves it: no manifest, a work folder, one finished shard.
    plan = {"inputs": image_shards_inputs(made.pool, P), "due": {}, "successes": 0}
    work = layout.work(layout.IMAGE_SHARDS, P)
    store.write_bytes(f"{work}/plan.json", json.dumps(plan).encode())
    store.delete(layout.manifest(layout.IMAGE_SHARDS, P))
    store.delete(layout.shard_stats(P, 1))
    store.delete(layout.shard_stats(P, 2))
    site.requests.clear()

    again = image_shards(made.pool, P).manifest

    assert sorted(site.requests) == sorted(f"/{i}.jpg" for i in range(10, 25))
    assert again.report.figures["shards_kept"] == 1
    assert again.digest(layout.shard_tar) == first.digest(layout.shard_tar)
    assert again.report.rows_out == first.report.rows_out == 25


def test_shards_of_other_settings_are_not_kept(site: Web, made: MadeUp) -> None:
    unique_pairs(made, [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(25)])
    image_shards(made.pool, P)

    made.set(download={"samples_per_shard": 20, "image_size": 20})
    manifest = image_shards(made.pool, P).manifest

    assert manifest.report.figures["shards_kept"] == 0
    assert len(made.store.list(layout.shard_folder(P))) == 6
    members = read_samples(made.store, 1)
    sample = next(content for name, content in members.items() if name.endswith(".json"))
    assert json.loads(sample)["height"] == 20


def test_a_broken_network_stops_the_run_and_says_what_to_do(site: Web, local_made: MadeUp) -> None:
    store = local_made.store
    good = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(10)]
    dead = [f"http://127.{i % 50}.2.{i // 50 + 1}:1/a.jpg" for i in range(2000)]
    unique_pairs(local_made, good + dead)

    with pytest.raises(DownloadError, match=r"200 urls on 200 hosts in a row.*refused.*firewall"):
        image_shards(local_made.pool, P)

    assert local_made.pool.catalog.get(layout.IMAGE_SHARDS, P) is None
    assert len(store.list(layout.shard_folder(P))) < 90
    local_made.set(download={"respect_robots": True})
    with pytest.raises(DownloadError, match=r"hosts in a row.*refused"):
        image_shards(local_made.pool, P)


def test_what_a_stop_could_not_know_is_asked_again_once(site: Web, local_made: MadeUp) -> None:
    good = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(10)]
    dead = [f"http://127.{i % 50}.2.{i // 50 + 1}:1/a.jpg" for i in range(390)]
    unique_pairs(local_made, good + dead)
    local_made.set(download={"samples_per_shard": 1000, "concurrency": 4, "retries": 0})
    with pytest.raises(DownloadError, match="asked again"):
        image_shards(local_made.pool, P)
    (journal,) = Path(local_made.store.base).rglob("00000.results")
    doubted = journal.read_bytes().count(b'"is_doubted": true')
    known = journal.read_bytes().count(b'"status"') - doubted
    stopped = datetime.now(UTC)

    # The next run neither counts them nor doubts them again, and comes to an end.
    report = image_shards(local_made.pool, P).manifest.report
    again = sum(row["fetched_at"] > stopped for row in read_rows(local_made.store, 0))
    assert 190 < doubted <= 200 + 4
    assert again == 400 - known
    assert site.requests.total() == 10
    assert (report.rows_out, report.dropped) == (10, {"refused": 390})


def test_shards_published_just_before_a_stop_are_asked_again_once(
    site: Web, local_made: MadeUp
) -> None:
    made = local_made
    good = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(10)]
    dead = [f"http://127.{i % 50}.2.{i // 50 + 1}:1/a.jpg" for i in range(290)]
    unique_pairs(made, good + dead)
    made.set(download={"samples_per_shard": 100, "concurrency": 4, "retries": 0})
    with pytest.raises(DownloadError, match="asked again"):
        image_shards(made.pool, P)
    published = [*filter(layout.shard_rows.holds, made.store.list(layout.shard_folder(P)))]
    assert layout.shard_rows(P, 0) in published
    assert len(published) < 4
    plan = Path(made.store.base, layout.work(layout.IMAGE_SHARDS, P), "plan.json")
    doubted = len(json.loads(plan.read_bytes())["doubted"]["0"])
    tar = made.store.read_bytes(layout.shard_tar(P, 0))

    report = image_shards(made.pool, P).manifest.report

    attempts = [row["attempts"] for row in read_rows(made.store, 0)]
    # What failed before the last answer came is known to be its own fault.
    assert attempts.count(2) == doubted > 0
    assert site.requests.total() == 10
    assert made.store.read_bytes(layout.shard_tar(P, 0)) == tar
    assert (report.rows_out, report.dropped) == (10, {"refused": 290})
    assert (report.figures["retried"], report.figures["recovered"]) == (0, 0)


@pytest.mark.parametrize("hosts", [1, 15])
def test_a_dead_network_is_noticed_with_a_few_hosts_and_gone_hosts_stop_a_partition_once(
    made: MadeUp, hosts: int
) -> None:
    unique_pairs(made, [f"http://127.0.3.{i % hosts + 1}:1/{i}.jpg" for i in range(250)])
    with pytest.raises(DownloadError, match=f"200 urls on {hosts} hosts in a row.*refused"):
        image_shards(made.pool, P)

    manifest = image_shards(made.pool, P).manifest
    assert (manifest.report.rows_out, manifest.report.dropped) == (0, {"refused": 250})


def test_dead_urls_among_living_ones_do_not_stop_the_run(site: Web, local_made: MadeUp) -> None:
    urls = [f"http://127.{i % 50}.2.{i // 50 + 1}:1/a.jpg" for i in range(1000)]
    urls[::50] = [site.url("/none.jpg", host=f"127.0.1.{i + 1}") for i in range(20)]
    unique_pairs(local_made, urls)
    manifest = image_shards(local_made.pool, P).manifest

    assert manifest.report.dropped == {"refused": 980, "http_404": 20}
    assert manifest.report.figures["success_rate"] == 0


def test_further_columns_are_kept_before_the_caption(site: Web, made: MadeUp) -> None:
    urls = [site.serve("/a.jpg", encode()), site.url("/none.jpg")]
    boxes = [[0.1, 0.1, 0.2, 0.2]]
    unique_pairs(
        made, urls, similarity=[0.25, None], nsfw=["UNLIKELY", "NSFW"], face_bboxes=[boxes, None]
    )
    wanted = {"save_additional_columns": ["nsfw", "similarity"], "blur_faces": True}
    made.set(download=wanted)
    image_shards(made.pool, P)

    fields = json.loads(read_samples(made.store, 0)["00000000000.json"])
    assert list(fields)[:6] == ["uid", "nsfw", "similarity", "face_bboxes", "caption", "url"]
    assert (fields["nsfw"], fields["similarity"], fields["face_bboxes"]) == (
        "UNLIKELY",
        0.25,
        boxes,
    )
    with made.store.local(layout.shard_rows(P, 0)) as file:
        table = pq.read_table(file)
    assert table.column_names[:5] == ["uid", "nsfw", "similarity", "face_bboxes", "caption"]
    assert table["nsfw"].to_pylist() == ["UNLIKELY", "NSFW"]


@pytest.mark.parametrize("is_old", [False, True], ids=["json", "columns of an earlier release"])
def test_columns_that_the_source_brought_are_kept_and_others_refused(
    site: Web, local_made: MadeUp, is_old: bool
) -> None:
    urls = [site.serve("/a.jpg", encode()), site.serve("/b.jpg", encode())]
    seen = ['a "quoted" word', None]
    if is_old:
        table = pairs_table(urls).select(schemas.CANONICAL.names)
        put_pairs(local_made, table.append_column("seen", pa.array(seen)))
    else:
        said = [json.dumps({"other": '"seem":', "seen": seen[0]}, separators=(",", ":")), None]
        unique_pairs(local_made, urls, further=said)

    local_made.set(download={"save_additional_columns": ["seem"]})
    with pytest.raises(ConfigurationError, match=r"save_additional_columns: found seem,.*seen"):
        image_shards(local_made.pool, P)
    local_made.set(download={"save_additional_columns": ["seen"]})
    image_shards(local_made.pool, P)
    fields = json.loads(read_samples(local_made.store, 0)["00000000000.json"])
    assert (list(fields)[:2], fields["seen"]) == (["uid", "seen"], seen[0])
    with local_made.store.local(layout.shard_rows(P, 0)) as file:
        assert pq.read_table(file)["seen"].to_pylist() == seen


def test_a_file_that_is_not_the_sources_is_flagged_or_refused(site: Web, made: MadeUp) -> None:
    right = hashlib.sha256(encode()).hexdigest()
    urls = [site.serve("/a.jpg", encode()), site.url("/a.jpg?b"), site.url("/a.jpg?c")]
    unique_pairs(made, urls, sha256=[right, "0" * 64, None])
    image_shards(made.pool, P)
    rows = read_rows(made.store, 0)
    assert [row["hash_matches"] for row in rows] == [True, False, None]
    assert [row["status"] for row in rows] == ["success"] * 3
    assert [row["source_sha256"] for row in rows] == [right, "0" * 64, None]

    made.set(download={"verify_hash": "fail"})
    image_shards(made.pool, P)
    rows = read_rows(made.store, 0)
    assert [row["error_class"] for row in rows] == [None, "hash_mismatch", None]
    assert rows[1]["status"] == "failed_to_download"
    assert rows[1]["error_message"] == "hash mismatch"


def test_a_straggler_does_not_hold_the_shards_after_it(site: Web, local_made: MadeUp) -> None:
    store = local_made.store
    urls = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(30)]
    answer = site.pages["/0.jpg"]

    async def after_the_other_shards(request: web.Request) -> web.StreamResponse:
        while not all(store.exists(layout.shard_stats(P, number)) for number in (1, 2)):
            await asyncio.sleep(0.01)
        return await answer(request)

    site.pages["/0.jpg"] = after_the_other_shards
    unique_pairs(local_made, urls)
    image_shards(local_made.pool, P)

    rows = [read_rows(store, number) for number in range(3)]
    slow = rows[0][0]["fetched_at"]
    assert all(row["fetched_at"] < slow for row in rows[1] + rows[2])


@pytest.mark.parametrize(
    ("number", "position", "per_shard", "key"),
    [
        (0, 0, 10_000, "000000000"),
        (3, 42, 10_000, "000030042"),
        (12, 7, 500, "00012007"),
        (12, 7, 1000, "00012007"),
        (1, 0, 1, "00001"),
    ],
)
def test_keys_are_those_of_img2dataset_after_the_partition(
    number: int, position: int, per_shard: int, key: str
) -> None:
    assert sample_key(layout.partition_key(42), number, position, per_shard) == f"00042{key}"


@given(
    places=st.lists(
        st.tuples(st.integers(0, 99_999), st.integers(0, 99_999), st.integers(0, 9_999)),
        min_size=2,
        unique=True,
    ),
    per_shard=st.sampled_from([7, 1_000, 10_000]),
)
def test_keys_are_of_one_sample_of_the_pool_and_sort_as_it_does(
    places: list[tuple[int, int, int]], per_shard: int
) -> None:
    within = sorted({(p, n, place % per_shard) for p, n, place in places})
    keys = [sample_key(layout.partition_key(p), n, place, per_shard) for p, n, place in within]
    assert keys == sorted(set(keys))
    assert all(key.isdecimal() for key in keys)


def test_files_that_many_urls_give_are_told(site: Web, made: MadeUp) -> None:
    site.serve("/gone.jpg", encode(size=(99, 99)))
    urls = [site.serve(f"/{i}.jpg", encode(size=(60 + i, 40))) for i in range(5)]
    urls += [site.url(f"/gone.jpg?id={i}") for i in range(15)]
    unique_pairs(made, urls)
    figures = image_shards(made.pool, P).manifest.report.figures

    placeholder = hashlib.sha256(encode(size=(99, 99))).hexdigest()[:16]
    assert figures["top_placeholders"] == {placeholder: 15}
    assert (figures["placeholder_files"], figures["placeholder_urls"]) == (1, 15)
    rows = [row for number in range(2) for row in read_rows(made.store, number)]
    assert [row["is_placeholder"] for row in rows] == [False] * 5 + [True] * 15
    assert {row["status"] for row in rows} == {"success"}
