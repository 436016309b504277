"""A process that is killed at any moment costs time, never a row."""

import csv
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
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

ATTEMPTS = """
import os, signal, sys, time
from clip_assets import graph
from clip_assets.pairs import raw_pairs
from clip_assets.dedup import unique_pairs

for line in sys.stdin:
    root, asset, after = line.split()
    child = os.fork()
    if not child:
        pool = graph.open_pool(root)
        for key in pool.partitions:
            pool.assets[asset].make(pool, key)
        os._exit(0)
    if float(after) >= 0:
        time.sleep(float(after))
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once, and forks before every attempt."""

Attempt = Callable[[Store, str, float], int]
"""Makes an asset of a pool in a process that is killed after some seconds, or never if they are
negative: the status that it ended with."""


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    command = [sys.executable, "-c", ATTEMPTS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def make(store: Store, asset: str, kill_after_s: float) -> int:
            asked.write(f"{store.base} {asset} {kill_after_s}\n")
            return int(told.readline())

        yield make
        asked.close()


def made(store: Store, asset: str) -> list[Manifest]:
    catalog = Catalog(store)
    return [catalog.require(asset, plan.partition) for plan in plans(store)]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path, attempt: Attempt) -> None:
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
        assert attempt(undisturbed, asset, -1) == 0
        wall_s = sum(manifest.seconds for manifest in made(undisturbed, asset))
        for _ in range(KILLS):
            attempt(killed, asset, seeded.uniform(0, wall_s / 4))
        assert attempt(killed, asset, -1) == 0
        found = [
            [(manifest.digest(), manifest.report) for manifest in made(store, asset)]
            for store in (killed, undisturbed)
        ]
        assert found[0] == found[1]
    assert killed.list("work") == []
    sweep(killed)
    assert killed.list(".tmp") == []
