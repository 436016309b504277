"""Refreshes that are killed, that meet, and whose disk fills: what is served stays whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_assets import graph, layout
from clip_assets.errors import StorageFullError
from clip_assets.index import versions
from clip_assets.layout import WHOLE
from clip_assets.retrieval.search import Searcher
from clip_assets.storage.leftovers import sweep
from clip_assets.storage.store import Store
from clip_assets_tests.disks import leave, make_room, small_disk
from clip_assets_tests.index.conftest import RandomVectors

STEPS = (layout.INDEX_RECIPE, layout.INDEX_SEGMENTS, layout.FAISS_INDEX, layout.ID_MAPPING)

KILLS = 5
"""Of each step: twenty in all."""

BUSY = 64
"""A part of a process' status when another one does the same; the rest is how much it made."""

MADE = 5
"""A recipe, the segments of two partitions, a merged index and its mapping."""

ATTEMPTS = """
import os, signal, sys
from clip_assets import graph
from clip_assets.errors import BusyError
from clip_assets.index import id_mapping, merge, on_device
from clip_assets.index.effort import calibration
from clip_assets.index.engine import ann, more_lists
from matplotlib.backends import backend_agg
from matplotlib import figure

def attempt(root, assets, moment, ready):
    renamed = made = 0
    def die(event, arguments):
        nonlocal renamed
        if event in ("os.rename", "os.remove", "os.rmdir"):
            renamed += 1
            if renamed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(die)
    os.read(ready, 1)
    try:
        for asset in assets:
            pool = graph.open_pool(root)
            for key in pool.keys(pool.assets[asset].axis):
                made += not pool.assets[asset].make(pool, key).reused
    except BusyError:
        os._exit(BUSY + made)
    os._exit(made)

for line in sys.stdin:
    root, assets, *moments = line.split()
    ready, start = os.pipe()
    children = []
    for moment in moments:
        child = os.fork()
        if not child:
            attempt(root, assets.split(","), int(moment), ready)
        children.append(child)
    os.write(start, bytes(len(children)))
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
    os.close(ready)
    os.close(start)
""".replace("BUSY +", f"{BUSY} +")
"""Imports once, and forks before every attempt; a process dies before it moves or removes the
file of a number."""

Attempt = Callable[..., list[int]]
"""Makes assets of a pool in processes at once, each killed at some file, or never at 0: their
statuses."""


@pytest.fixture(scope="module")
def attempt() -> Iterator[Attempt]:
    with subprocess.Popen(
        [sys.executable, "-c", ATTEMPTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        bufsize=1,
    ) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def make(store: Store, assets: tuple[str, ...], *moments: int) -> list[int]:
            asked.write(f"{store.base} {','.join(assets)} {' '.join(map(str, moments))}\n")
            return [int(status) for status in told.readline().split()]

        yield make
        asked.close()


def settings(made: RandomVectors, **index: int) -> None:
    """Set the index's settings here and for other processes."""
    made.set(index=index)
    named = ", ".join(f"{name}: {value}" for name, value in index.items())
    made.store.write_bytes(layout.SETTINGS_FILE, f"index: {{{named}}}\n".encode())


@pytest.fixture
def served(made: RandomVectors) -> RandomVectors:
    """A pool whose index has lists, with a second partition to come and lists to be trained."""
    settings(made, flat_limit=50)
    made.embed(0, 160)
    made.index()
    made.embed(1, 90)
    settings(made, flat_limit=50, retrain=1)
    return made


def finds_its_own(made: RandomVectors) -> str:
    """Search the served version, which must be whole; its name."""
    name = versions.current(made.store)
    assert name is not None
    assert name in versions.versions(made.store)
    with Searcher.open(graph.open_pool(made.store.base)) as searcher:
        query = made.vectors(layout.partition_key(0))[7].astype(np.float32)
        assert searcher.search(query, k=1, recall_target=0.99)[0].caption == "00000-7"
    return name


def outputs(made: RandomVectors) -> dict[str, str]:
    """sha256 of every file of the index and its steps, by path."""
    pool = graph.open_pool(made.store.base)
    return {
        output.path: output.sha256
        for step in STEPS
        for key in pool.keys(pool.assets[step].axis)
        for output in pool.catalog.require(step, key).outputs
    }


@pytest.mark.slow
def test_twenty_kills_of_a_refresh_leave_what_is_served_and_change_nothing(
    served: RandomVectors, attempt: Attempt, tmp_path: Path
) -> None:
    calm = served.copied(tmp_path / "calm")
    assert attempt(calm.store, STEPS, 0) == [MADE]
    first, last = finds_its_own(served), finds_its_own(calm)
    assert first != last
    for step in STEPS:
        for moment in range(1, KILLS + 1):
            assert attempt(served.store, (step,), moment) == [-signal.SIGKILL]
            assert finds_its_own(served) == first
            assert versions.versions(served.store) == [first]
        assert attempt(served.store, (step,), 0)[0] in (1, 2)
    assert finds_its_own(served) == last
    assert outputs(served) == outputs(calm)
    sweep(served.store)
    for folder in (layout.TEMPORARY, "work", "failures"):
        assert served.store.list(folder) == []
    merged = {layout.index_manifest(name) for name in (first, last)}
    files = set(served.store.list(layout.VERSIONS))
    assert {path.split("/")[1] for path in files} == {first, last, "CURRENT"}
    assert merged < files


def test_of_two_processes_that_refresh_one_makes_the_version(
    served: RandomVectors, attempt: Attempt
) -> None:
    first = finds_its_own(served)
    statuses = attempt(served.store, STEPS, 0, 0)
    assert min(statuses) < BUSY
    assert sum(status % BUSY for status in statuses) == MADE, "nothing is made twice"
    last = finds_its_own(served)
    assert versions.merged(served.store) == [first, last]


def words_of(made: RandomVectors) -> str:
    """The words of a merge without room; empty if there was enough."""
    try:
        made.merge()
    except StorageFullError as error:
        return str(error)
    return ""


def test_a_disk_that_fills_while_lists_are_joined_leaves_what_is_served(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * 2**20) as disk:
        made = RandomVectors(Store.open(str(disk / "pool")))
        settings(made, flat_limit=50)
        made.embed(0, 160)
        first = made.index()
        made.embed(1, 90)
        made.segment()
        calm = made.copied(tmp_path / "calm")
        refused = 0
        for room in range(0, 2**18, 8_192):
            leave(disk, room)
            told = words_of(made)
            if not told:
                break
            refused += 1
            assert f"bytes free in {made.store.base}" in told
            assert versions.versions(made.store) == [first]
            assert finds_its_own(made) == first
            assert not made.store.list(layout.TEMPORARY)
        make_room(disk)
        assert refused > KILLS
        assert finds_its_own(made) == first
        assert made.index() == calm.index()
        assert outputs(made) == outputs(calm)
        assert made.pool.catalog.failure(layout.FAISS_INDEX, WHOLE) is None
