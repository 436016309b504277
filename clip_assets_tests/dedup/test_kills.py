"""A process that is killed at any moment costs time, never a row."""

import csv
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import Sources
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

KILLS = 20
OPTIONS = Sources(rows_per_partition=5000)

RUN = """
import sys
from clip_assets.dedup.unique import unique_pairs
from clip_assets.pairs.ingest import raw_pairs
from clip_assets.partitions.ledger import plans
from clip_assets.settings import Sources
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store
print("started", flush=True)
catalog = Catalog(Store.open(sys.argv[1]))
keys = [plan.partition for plan in plans(catalog.store)]
for key in keys:
    raw_pairs(catalog, key, Sources(rows_per_partition=5000))
for number, key in enumerate(keys):
    unique_pairs(catalog, key, keys[:number])
"""


def start(store: Store) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, store.base]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def digests(store: Store) -> dict[str, str]:
    catalog = Catalog(store)
    keys = [Path(path).stem for path in store.list("partitions")]
    assets = ("raw_pairs", "unique_pairs")
    return {f"{asset}/{key}": catalog.digest(asset, key) for asset in assets for key in keys}


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    seeded = random.Random(7)
    for number in range(8):
        with (tmp_path / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["url", "caption"])
            for _ in range(5000):
                writer.writerow([f"http://x/{seeded.randrange(20_000)}", "a caption"])
    undisturbed, killed = (Store.open(str(tmp_path / name)) for name in ("one", "two"))
    for store in (undisturbed, killed):
        add_sources(store, [str(tmp_path / "*.csv")], OPTIONS)
    with start(undisturbed) as process:
        working = time.monotonic()
    assert process.returncode == 0
    wall_s = time.monotonic() - working
    for _ in range(KILLS):
        with start(killed) as process:
            time.sleep(seeded.uniform(0, wall_s / 4))
            process.kill()
    with start(killed) as process:
        pass
    assert process.returncode == 0
    assert digests(killed) == digests(undisturbed)
    assert killed.list("work") == []
    killed.sweep()
    assert killed.list(".tmp") == []
