"""A download killed at any moment leaves no torn file and goes on where it was."""

import asyncio
import json
import signal
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from clip_assets import layout, schemas
from clip_assets.download.image_shards import image_shards
from clip_assets.download.pipeline import OPEN_SHARDS, download
from clip_assets.download.retry import retry_failed
from clip_assets.download.shard import Shard
from clip_assets.layout import partition_key
from clip_assets.settings import DownloadSettings
from clip_assets.storage.manifests import UNFINISHED
from clip_assets.storage.store import Store
from clip_assets_tests.download.pairs import P, encode, made_up, samples, started, unique_pairs
from clip_assets_tests.download.web import Handler, Web
from clip_assets_tests.upstream import MadeUp

NEVER_S = 1000


def wait_for(condition: Callable[[], object]) -> None:
    """Until a process has come so far; that it never does, the time-out of the test tells."""
    while not condition():
        time.sleep(0.01)


def finished_shards(folder: Path) -> int:
    return len(list(folder.glob("*_stats.json")))


def results_kept(work: Path) -> int:
    """Records in the journals of a partition."""
    return sum(file.read_bytes().count(b'"crc32"') for file in work.rglob("*") if file.is_file())


def whole_files(folder: Path) -> None:
    """Open every published file to its end; torn ones raise."""
    for tar in folder.glob("*.tar"):
        assert samples(tar.read_bytes())
        assert tar.stat().st_size % tarfile.RECORDSIZE == 0
    for rows in folder.glob("*.parquet"):
        pq.read_table(rows)


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_kill_loses_only_unfinished_shards(
    site: Web, local_made: MadeUp, settings: DownloadSettings, finished: int
) -> None:
    root = Path(local_made.store.base)
    per_shard = settings.samples_per_shard
    urls = [
        # The first url of the shard that is to be unfinished has no answer.
        site.serve(
            f"/{i}.jpg", encode(size=(64 + i, 48)), delay_s=NEVER_S * (i == finished * per_shard)
        )
        for i in range(4 * per_shard)
    ]
    unique_pairs(local_made, urls)
    process = started(root, settings.model_copy(update={"concurrency": 1}))
    folder = root / layout.shard_folder(P)
    wait_for(lambda: site.requests[f"/{finished * per_shard}.jpg"])
    wait_for(lambda: finished_shards(folder) == finished)
    process.send_signal(signal.SIGKILL)
    process.wait()

    whole_files(folder)
    assert finished_shards(folder) == finished
    asked = dict(site.requests)
    for i in range(4 * per_shard):
        site.serve(f"/{i}.jpg", encode(size=(64 + i, 48)))
    manifest = image_shards(local_made.pool, P).manifest

    whole_files(folder)
    assert manifest.report.figures["shards_kept"] == finished
    assert manifest.report.rows_out == 4 * per_shard
    for i in range(finished * per_shard):
        assert site.requests[f"/{i}.jpg"] == asked[f"/{i}.jpg"] == 1
    assert not list((root / layout.work(layout.IMAGE_SHARDS, P)).glob("*"))


def test_what_a_killed_shard_had_is_not_fetched_again(
    site: Web, local_made: MadeUp, settings: DownloadSettings, tmp_path: Path
) -> None:
    root = Path(local_made.store.base)
    last = settings.samples_per_shard - 1
    urls = [
        site.serve(f"/{i}.jpg", encode(size=(64 + i, 48)), delay_s=NEVER_S * (i == last))
        for i in range(last + 1)
    ]
    site.serve("/1.jpg", status=404)
    unique_pairs(local_made, urls)
    process = started(root, settings.model_copy(update={"concurrency": 1}))
    wait_for(lambda: site.requests[f"/{last}.jpg"])
    work = root / layout.work(layout.IMAGE_SHARDS, P)
    wait_for(lambda: results_kept(work) == last)
    process.kill()
    process.wait()
    site.serve(f"/{last}.jpg", encode(size=(64 + last, 48)))
    resumed = image_shards(local_made.pool, P).manifest

    assert dict(site.requests) == {f"/{i}.jpg": 1 + (i == last) for i in range(last + 1)}
    assert resumed.report.dropped == {"http_404": 1}
    assert not list(work.glob("*"))
    whole = made_up(Store.open(str(tmp_path / "whole")), settings)
    unique_pairs(whole, urls)
    expected = image_shards(whole.pool, P).manifest
    assert expected.digest(layout.shard_tar) == resumed.digest(layout.shard_tar)


@pytest.mark.slow
def test_kill_at_random_moments_gives_the_same_tars(
    site: Web, settings: DownloadSettings, tmp_path: Path
) -> None:
    urls = [site.serve(f"/{i}.jpg", encode(size=(64 + i, 48)), delay_s=0.02) for i in range(60)]
    names = ("whole", "killed")
    whole, killed = (made_up(Store.open(str(tmp_path / name)), settings) for name in names)
    unique_pairs(whole, urls)
    unique_pairs(killed, urls)
    expected = image_shards(whole.pool, P).manifest
    few = settings.model_copy(update={"concurrency": 2})

    for moment in (0.1, 0.35, 0.2):
        before = site.requests.total()
        process = started(tmp_path / "killed", few)
        wait_for(lambda before=before: site.requests.total() > before)
        time.sleep(moment)
        process.kill()
        process.wait()
        whole_files(tmp_path / "killed" / layout.shard_folder(P))
    found = image_shards(killed.pool, P).manifest

    assert found.digest(layout.shard_tar) == expected.digest(layout.shard_tar)


def test_a_killed_retry_goes_on_and_leaves_successes_alone(
    site: Web, local_made: MadeUp, settings: DownloadSettings
) -> None:
    root = Path(local_made.store.base)
    once = settings.model_copy(update={"retries": 0, "concurrency": 1})
    local_made.set(download=once.model_dump())
    urls = [site.serve(f"/{i}.jpg", encode(size=(64 + i, 48))) for i in range(40)]
    failing = [3, 13, 14, 33]
    for i in failing:
        site.serve(f"/{i}.jpg", status=503)
    unique_pairs(local_made, urls)
    first = image_shards(local_made.pool, P).manifest
    folder = root / layout.shard_folder(P)
    before = [samples(tar.read_bytes()) for tar in sorted(folder.glob("*.tar"))]
    site.requests.clear()
    for i in failing:
        # The first shard is published again, then the retry hangs in the second one.
        site.serve(f"/{i}.jpg", encode(size=(64 + i, 48)), delay_s=NEVER_S * (i == 14))

    process = started(root, once, stage="retry_failed")
    rows = folder / "00000.parquet"
    wait_for(
        lambda: site.requests["/14.jpg"] and None not in pq.read_table(rows)["sha256"].to_pylist()
    )
    process.kill()
    process.wait()
    whole_files(folder)
    site.serve("/14.jpg", encode(size=(78, 48)))
    asked = Counter(site.requests)
    manifest = image_shards(local_made.pool, P).manifest

    # What the retry had of the shard that it was in, 13, was kept.
    assert set(site.requests - asked) == {"/14.jpg", "/33.jpg"}
    assert set(site.requests) == {f"/{i}.jpg" for i in failing}
    assert (manifest.report.rows_in, manifest.report.rows_out) == (40, 40)
    assert (manifest.report.figures["retried"], manifest.report.figures["recovered"]) == (4, 4)
    for tar, old in zip(sorted(folder.glob("*.tar")), before, strict=True):
        assert old.items() <= samples(tar.read_bytes()).items()
    untouched = layout.shard_tar(P, 2)
    hashes = [{one.path: one.sha256 for one in m.outputs} for m in (first, manifest)]
    assert hashes[0][untouched] == hashes[1][untouched]


def test_a_retry_killed_between_a_tar_and_its_rows_is_repeated(
    site: Web, local_made: MadeUp
) -> None:
    store = local_made.store
    local_made.set(download={"retries": 0})
    urls = [site.serve(f"/{i}.jpg", encode(size=(64 + i, 48))) for i in range(10)]
    site.serve("/3.jpg", status=503)
    unique_pairs(local_made, urls)
    before = image_shards(local_made.pool, P).manifest
    rows = store.read_bytes(layout.shard_rows(P, 0))
    due = store.read_bytes(layout.manifest(layout.IMAGE_SHARDS, P))
    site.serve("/3.jpg", encode(size=(67, 48)))
    retried = retry_failed(local_made.pool, P).manifest
    # What such a kill leaves: the new tar, the old rows, a manifest that does not count, the plan.
    store.write_bytes(layout.shard_rows(P, 0), rows)
    manifest = json.loads(due) | {"code_version": UNFINISHED}
    store.write_bytes(layout.manifest(layout.IMAGE_SHARDS, P), json.dumps(manifest).encode())
    plan = {"inputs": before.inputs, "due": {"0": {"3": 1}}, "successes": 9}
    work = layout.work(layout.IMAGE_SHARDS, P)
    store.write_bytes(f"{work}/plan.json", json.dumps(plan).encode())
    site.requests.clear()
    again = image_shards(local_made.pool, P).manifest

    assert set(site.requests) == {"/3.jpg"}
    assert again.digest(layout.shard_tar) == retried.digest(layout.shard_tar)
    assert again.report.rows_out == 10
    assert (again.report.figures["retried"], again.report.figures["recovered"]) == (1, 1)


def test_two_processes_work_on_two_partitions_of_one_pool(
    site: Web, local_made: MadeUp, settings: DownloadSettings
) -> None:
    everyone_waits = threading.Barrier(2, timeout=60)
    keys = [partition_key(number) for number in range(2)]
    for number, key in enumerate(keys):
        urls = [
            site.serve(f"/{key}/{i}.jpg", encode(size=(64 + i, 48 + number))) for i in range(15)
        ]
        unique_pairs(local_made, urls, key)
        answer = site.pages[f"/{key}/0.jpg"]

        async def wait_for_the_other(
            request: web.Request, answer: Handler = answer
        ) -> web.StreamResponse:
            await asyncio.to_thread(everyone_waits.wait)
            return await answer(request)

        site.pages[f"/{key}/0.jpg"] = wait_for_the_other
    both = [started(Path(local_made.store.base), settings, key) for key in keys]

    assert [process.wait(120) for process in both] == [0, 0]
    for key in keys:
        report = local_made.pool.catalog.require(layout.IMAGE_SHARDS, key).report
        assert report.rows_out == 15


def test_a_slow_writer_slows_fetching_down(site: Web, settings: DownloadSettings) -> None:
    urls = [site.serve(f"/{i}.jpg", encode(size=(64 + i, 48))) for i in range(100)]
    columns = pa.schema([schemas.PAIRS.field(name) for name in ("uid", "url", "caption")])
    begun: list[int] = []
    asked: list[tuple[int, int]] = []

    def shards() -> Iterator[Shard]:
        for number in range(10):
            begun.append(number)
            pairs = [
                {"uid": str(i), "url": urls[10 * number + i], "caption": None} for i in range(10)
            ]
            yield Shard(P, number, pairs, columns, settings)

    def publish(_: Shard) -> None:
        # Longer than all that is allowed to be fetched meanwhile takes.
        time.sleep(0.3)
        asked.append((len(begun), site.requests.total()))

    download(shards(), settings, publish)

    assert len(asked) == 10
    for published, (shards_begun, requests) in enumerate(asked):
        assert shards_begun <= published + OPEN_SHARDS
        assert requests <= 10 * (published + OPEN_SHARDS)
