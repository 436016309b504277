"""A download killed at any moment leaves no torn file and goes on where it was."""

import signal
import subprocess
import sys
import tarfile
import time

import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.download.shards import image_shards
from clip_assets.layout import PartitionKey
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

P = PartitionKey("00000")

SCRIPT = """
import sys
from clip_assets.download.shards import image_shards
from clip_assets.settings import Download
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

settings = Download.model_validate_json(sys.argv[2])
image_shards(Catalog(Store.open(sys.argv[1])), "00000", settings)
"""


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


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
        # The first url of the shard that is to be unfinished takes long.
        site.serve(f"/{i}.jpg", image(size=(64 + i, 48)), delay_s=10 * (i == finished * per_shard))
        for i in range(4 * per_shard)
    ]
    pool(store, urls)
    one_by_one = settings.model_copy(update={"concurrency": 1})
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), one_by_one.model_dump_json()]
    )
    wait_for(lambda: site.requests[f"/{finished * per_shard}.jpg"])
    process.send_signal(signal.SIGKILL)
    process.wait()

    folder = tmp_path / layout.shard_folder(P)
    whole_files(folder)
    assert len(list(folder.glob("*_stats.json"))) == finished
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
