"""A download killed at any moment leaves no torn file and goes on where it was."""

import asyncio
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.download.image_shards import image_shards
from clip_assets.download.pipeline import OPEN_SHARDS, download
from clip_assets.download.retry import retry_failed
from clip_assets.download.shard import Shard
from clip_assets.layout import PartitionKey
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

P = PartitionKey("00000")

SCRIPT = """
import sys
from clip_assets.download.image_shards import image_shards
from clip_assets.settings import Download
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

settings = Download.model_validate_json(sys.argv[2])
image_shards(Catalog(Store.open(sys.argv[1])), "00000", settings)
"""


NEVER_S = 1000


def wait_for(condition):
    """Until a process has come so far; that it never does, the time-out of the test tells."""
    while not condition():
        time.sleep(0.01)


def finished_shards(folder):
    return len(list(folder.glob("*_stats.json")))


def results_kept(work):
    """Records in the journals of a partition."""
    return sum(file.read_bytes().count(b'"crc32"') for file in work.rglob("*") if file.is_file())


def samples(tar):
    with tarfile.open(tar) as content:
        return {member.name: content.extractfile(member).read() for member in content}


def whole_files(folder):
    """Open every published file to its end; torn ones raise."""
    for tar in folder.glob("*.tar"):
        with tarfile.open(tar) as content:
            assert [content.extractfile(member).read() for member in content]
        assert tar.stat().st_size % 10240 == 0
    for rows in folder.glob("*.parquet"):
        pq.read_table(rows)


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_kill_loses_only_unfinished_shards(site, pool, image, settings, tmp_path, finished):
    store = Store.open(str(tmp_path))
    per_shard = settings.samples_per_shard
    urls = [
        # The first url of the shard that is to be unfinished has no answer.
        site.serve(
            f"/{i}.jpg", image(size=(64 + i, 48)), delay_s=NEVER_S * (i == finished * per_shard)
        )
        for i in range(4 * per_shard)
    ]
    pool(store, urls)
    one_by_one = settings.model_copy(update={"concurrency": 1})
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), one_by_one.model_dump_json()]
    )
    folder = tmp_path / layout.shard_folder(P)
    wait_for(lambda: site.requests[f"/{finished * per_shard}.jpg"])
    wait_for(lambda: finished_shards(folder) == finished)
    process.send_signal(signal.SIGKILL)
    process.wait()

    whole_files(folder)
    assert finished_shards(folder) == finished
    asked = dict(site.requests)
    for i in range(4 * per_shard):
        site.serve(f"/{i}.jpg", image(size=(64 + i, 48)))
    manifest = image_shards(Catalog(store), P, settings).manifest

    whole_files(folder)
    assert manifest.report.figures["shards_kept"] == finished
    assert manifest.report.rows_out == 4 * per_shard
    for i in range(finished * per_shard):
        assert site.requests[f"/{i}.jpg"] == asked[f"/{i}.jpg"] == 1
    assert not list((tmp_path / layout.work("image_shards", P)).glob("*"))


def test_what_a_killed_shard_had_is_not_fetched_again(site, pool, image, settings, tmp_path):
    store = Store.open(str(tmp_path))
    last = settings.samples_per_shard - 1
    urls = [
        site.serve(f"/{i}.jpg", image(size=(64 + i, 48)), delay_s=NEVER_S * (i == last))
        for i in range(last + 1)
    ]
    site.serve("/1.jpg", status=404)
    pool(store, urls)
    one_by_one = settings.model_copy(update={"concurrency": 1})
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), one_by_one.model_dump_json()]
    )
    wait_for(lambda: site.requests[f"/{last}.jpg"])
    work = tmp_path / layout.work("image_shards", P)
    wait_for(lambda: results_kept(work) == last)
    process.kill()
    process.wait()
    site.serve(f"/{last}.jpg", image(size=(64 + last, 48)))
    resumed = image_shards(Catalog(store), P, settings).manifest

    assert dict(site.requests) == {f"/{i}.jpg": 1 + (i == last) for i in range(last + 1)}
    assert resumed.report.dropped == {"http_404": 1}
    assert not list(work.glob("*"))
    whole = Store.open(str(tmp_path / "whole"))
    pool(whole, urls)
    assert image_shards(Catalog(whole), P, settings).manifest.digest(".tar") == resumed.digest(
        ".tar"
    )


@pytest.mark.slow
def test_kill_at_random_moments_gives_the_same_tars(site, pool, image, settings, tmp_path):
    urls = [site.serve(f"/{i}.jpg", image(size=(64 + i, 48)), delay_s=0.02) for i in range(60)]
    whole, killed = Store.open(str(tmp_path / "whole")), Store.open(str(tmp_path / "killed"))
    pool(whole, urls)
    pool(killed, urls)
    expected = image_shards(Catalog(whole), P, settings).manifest
    few = settings.model_copy(update={"concurrency": 2})
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), few.model_dump_json()]

    for moment in (0.1, 0.35, 0.2):
        before = site.requests.total()
        process = subprocess.Popen(command)
        wait_for(lambda before=before: site.requests.total() > before)
        time.sleep(moment)
        process.kill()
        process.wait()
        whole_files(tmp_path / "killed" / layout.shard_folder(P))
    found = image_shards(Catalog(killed), P, settings).manifest

    assert found.digest(".tar") == expected.digest(".tar")


def test_a_killed_retry_goes_on_and_leaves_successes_alone(site, pool, image, settings, tmp_path):
    store = Store.open(str(tmp_path))
    once = settings.model_copy(update={"retries": 0, "concurrency": 1})
    urls = [site.serve(f"/{i}.jpg", image(size=(64 + i, 48))) for i in range(40)]
    failing = [3, 13, 14, 33]
    for i in failing:
        site.serve(f"/{i}.jpg", status=503)
    pool(store, urls)
    first = image_shards(Catalog(store), P, once).manifest
    folder = tmp_path / layout.shard_folder(P)
    before = [samples(tar) for tar in sorted(folder.glob("*.tar"))]
    site.requests.clear()
    for i in failing:
        # The first shard is published again, then the retry hangs in the second one.
        site.serve(f"/{i}.jpg", image(size=(64 + i, 48)), delay_s=NEVER_S * (i == 14))

    retry = SCRIPT.replace("image_shards import image_shards", "retry import retry_failed")
    retry = retry.replace("image_shards(", "retry_failed(")
    process = subprocess.Popen([sys.executable, "-c", retry, str(tmp_path), once.model_dump_json()])
    rows = folder / "00000.parquet"
    wait_for(
        lambda: site.requests["/14.jpg"] and None not in pq.read_table(rows)["sha256"].to_pylist()
    )
    process.kill()
    process.wait()
    whole_files(folder)
    site.serve("/14.jpg", image(size=(78, 48)))
    asked = Counter(site.requests)
    manifest = image_shards(Catalog(store), P, once).manifest

    assert set(site.requests - asked) == {"/13.jpg", "/14.jpg", "/33.jpg"}
    assert set(site.requests) == {f"/{i}.jpg" for i in failing}
    assert (manifest.report.rows_in, manifest.report.rows_out) == (40, 40)
    assert (manifest.report.figures["retried"], manifest.report.figures["recovered"]) == (4, 4)
    for tar, old in zip(sorted(folder.glob("*.tar")), before, strict=True):
        assert old.items() <= samples(tar).items()
    untouched = layout.shard_tar(P, 2)
    hashes = [{one.path: one.sha256 for one in m.outputs} for m in (first, manifest)]
    assert hashes[0][untouched] == hashes[1][untouched]


def test_a_retry_killed_between_a_tar_and_its_rows_is_repeated(
    site, pool, image, settings, tmp_path
):
    store = Store.open(str(tmp_path))
    once = settings.model_copy(update={"retries": 0})
    urls = [site.serve(f"/{i}.jpg", image(size=(64 + i, 48))) for i in range(10)]
    site.serve("/3.jpg", status=503)
    pool(store, urls)
    before = image_shards(Catalog(store), P, once).manifest
    rows = store.read_bytes(layout.shard_rows(P, 0))
    due = store.read_bytes(layout.manifest("image_shards", P))
    site.serve("/3.jpg", image(size=(67, 48)))
    retried = retry_failed(Catalog(store), P, once).manifest
    # What such a kill leaves: the new tar, the old rows, a manifest that does not count, the plan.
    store.write_bytes(layout.shard_rows(P, 0), rows)
    manifest = json.loads(due) | {"code_version": "unfinished"}
    store.write_bytes(layout.manifest("image_shards", P), json.dumps(manifest).encode())
    plan = {"inputs": before.inputs, "due": {"0": {"3": 1}}, "successes": 9}
    work = layout.work("image_shards", P)
    store.write_bytes(f"{work}/plan.json", json.dumps(plan).encode())
    site.requests.clear()
    again = image_shards(Catalog(store), P, once).manifest

    assert set(site.requests) == {"/3.jpg"}
    assert again.digest(".tar") == retried.digest(".tar")
    assert again.report.rows_out == 10


def test_two_processes_work_on_two_partitions_of_one_pool(site, pool, image, settings, tmp_path):
    store = Store.open(str(tmp_path))
    everyone_waits = threading.Barrier(2, timeout=60)
    for number, key in enumerate(("00000", "00001")):
        urls = [site.serve(f"/{key}/{i}.jpg", image(size=(64 + i, 48 + number))) for i in range(15)]
        pool(store, urls, key=key)
        answer = site.pages[f"/{key}/0.jpg"]

        async def wait_for_the_other(request, answer=answer):
            await asyncio.to_thread(everyone_waits.wait)
            return await answer(request)

        site.pages[f"/{key}/0.jpg"] = wait_for_the_other
    both = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                SCRIPT.replace("00000", key),
                str(tmp_path),
                settings.model_dump_json(),
            ]
        )
        for key in ("00000", "00001")
    ]

    assert [process.wait(120) for process in both] == [0, 0]
    for key in ("00000", "00001"):
        assert Catalog(store).require("image_shards", PartitionKey(key)).report.rows_out == 15


def test_a_slow_writer_slows_fetching_down(site, image, settings):
    urls = [site.serve(f"/{i}.jpg", image(size=(64 + i, 48))) for i in range(100)]
    columns = pa.schema([schemas.PAIRS.field(name) for name in ("uid", "url", "caption")])
    begun, asked = [], []

    def shards():
        for number in range(10):
            begun.append(number)
            pairs = [
                {"uid": str(i), "url": urls[10 * number + i], "caption": None} for i in range(10)
            ]
            yield Shard(number, pairs, columns, settings)

    def publish(_):
        # Longer than all that is allowed to be fetched meanwhile takes.
        time.sleep(0.3)
        asked.append((len(begun), site.requests.total()))

    download(shards(), settings, publish)

    assert len(asked) == 10
    for published, (shards_begun, requests) in enumerate(asked):
        assert shards_begun <= published + OPEN_SHARDS
        assert requests <= 10 * (published + OPEN_SHARDS)
