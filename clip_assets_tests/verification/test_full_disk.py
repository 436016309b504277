"""A disk that fills in any stage: an error that says so, and the same files once there is room.

The same is every byte, but for what tells when an image was fetched.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_assets import graph, layout
from clip_assets.errors import StorageFullError
from clip_assets.index import versions
from clip_assets.layout import Key
from clip_assets_tests.disks import leave, make_room, small_disk
from clip_assets_tests.verification.conftest import Whole

DISK_BYTES = 24 * 2**20

ROOMS = (0, 4_096, 16_384, 65_536, 262_144)
"""Bytes that are free while a stage runs, tried one after the other: it ends in several places."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def digests(root: Path) -> dict[str, str]:
    """sha256 of every published file by its path, of others their paths."""
    pool = graph.open_pool(str(root))
    return {
        # A version's name has a digest of what it is made from.
        re.sub("(?<=^index/).{14}", "", output.path): (
            "" if tells_times(output.path) else output.sha256
        )
        for name, asset in pool.assets.items()
        for key in pool.keys(asset.axis)
        for output in pool.catalog.require(name, key).outputs
    }


def tells_times(path: str) -> bool:
    """Whether a file says when something was fetched, or how long that took."""
    return layout.shard_rows.holds(path) or layout.shard_stats.holds(path)


def make(root: Path, asset: str, key: Key) -> None:
    pool = graph.open_pool(str(root))
    pool.assets[asset].make(pool, key)


def tried(root: Path, asset: str, key: Key) -> str:
    """The words of a disk without room, empty if there was enough."""
    try:
        make(root, asset, key)
    except StorageFullError as error:
        return str(error)
    return ""


@pytest.fixture
def planned(made_once: Whole, disk: Path) -> Path:
    """The pool as it was planned, on the small disk."""
    root = disk / "data"
    for name in (layout.STORE, layout.SETTINGS_FILE, layout.PLANS):
        source, target = made_once.root / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return root


def test_every_stage_ends_in_words_and_makes_the_same_when_there_is_room(
    planned: Path, disk: Path, made_once: Whole
) -> None:
    pool = graph.open_pool(str(planned))
    refused: set[str] = set()
    for name, asset in graph.ASSETS.items():
        for key in pool.keys(asset.axis):
            for room in ROOMS:
                leave(disk, room)
                told = tried(planned, name, key)
                if not told:
                    break
                refused.add(name)
                assert f"bytes free in {planned}" in told
                assert not graph.open_pool(str(planned)).store.list(layout.TEMPORARY)
            make_room(disk)
            make(planned, name, key)
    assert refused == graph.ASSETS.keys()
    assert digests(planned) == digests(made_once.root)
    assert len(versions.merged(pool.store)) == 1
    left = [path for path in planned.rglob("*") if path.is_file() and "work" in path.parts]
    assert not left
    assert not pool.store.list("failures")


def test_a_full_disk_at_the_end_of_a_merge_leaves_no_second_version(
    whole: Whole, disk: Path
) -> None:
    root = disk / "data"
    shutil.copytree(whole.root, root)
    [first] = versions.merged(graph.open_pool(str(root)).store)
    recipe = root / layout.manifest(layout.FAISS_INDEX)
    content = json.loads(recipe.read_bytes())
    recipe.write_text(json.dumps(content | {"code_version": "0"}))
    for room in range(0, 2**17, 4_096):
        leave(disk, room)
        if not tried(root, layout.FAISS_INDEX, layout.WHOLE):
            break
    make_room(disk)
    make(root, layout.FAISS_INDEX, layout.WHOLE)
    make(root, layout.ID_MAPPING, layout.WHOLE)
    known = versions.merged(graph.open_pool(str(root)).store)
    assert known[0] == first
    assert [name.split("-")[0] for name in known] == ["00001", "00002"]
