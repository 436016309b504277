"""A process that is killed at any moment costs time, never a row."""

import csv
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.partitions.ledger import add_sources, plans
from clip_assets.settings import SourceSettings
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.leftovers import sweep
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store

KILLS = 10
"""Of each stage."""

OPTIONS = SourceSettings(rows_per_partition=5000)
STAGES = (layout.RAW_PAIRS, layout.UNIQUE_PAIRS)

RUN = """
import sys
from clip_assets import graph
print("started", flush=True)
pool = graph.open_pool(sys.argv[1])
for key in pool.partitions:
    pool.assets[sys.argv[2]].make(pool, key)
"""


def start(store: Store, asset: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, store.base, asset]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def finish(store: Store, asset: str) -> None:
    with start(store, asset) as process:
        pass
    assert process.returncode == 0


def made(store: Store, asset: str) -> list[Manifest]:
    catalog = Catalog(store)
    return [catalog.require(asset, plan.partition) for plan in plans(store)]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    seeded = random.Random(7)
    for number in range(8):
        with (tmp_path / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["url", "caption"])
            for _ in range(5000):
                writer.writerow([f"http://x/{seeded.randrange(20_000)}", "a caption"])
            if number % 2:
                file.write("a row that has to be read with care\n")
    undisturbed, killed = (Store.open(str(tmp_path / name)) for name in ("one", "two"))
    for store in (undisturbed, killed):
        add_sources(store, [str(tmp_path / "*.csv")], OPTIONS)
    for asset in STAGES:
        finish(undisturbed, asset)
        wall_s = sum(manifest.seconds for manifest in made(undisturbed, asset))
        for _ in range(KILLS):
            with start(killed, asset) as process:
                time.sleep(seeded.uniform(0, wall_s / 4))
                process.kill()
        finish(killed, asset)
        found = [
            [(manifest.digest(), manifest.report) for manifest in made(store, asset)]
            for store in (killed, undisturbed)
        ]
        assert found[0] == found[1]
    assert killed.list("work") == []
    sweep(killed)
    assert killed.list(".tmp") == []
