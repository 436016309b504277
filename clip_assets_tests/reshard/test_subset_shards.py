"""Shards of a pool's subset: made when asked for, resumed, and mended to the same bytes."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, MissingArtifactError, SchemaError
from clip_assets.layout import Key, partition_key
from clip_assets.pool import takedowns
from clip_assets.reshard.kept_shards import KeptShards, subset_tar, subset_tar_stats
from clip_assets.reshard.resharding import Options, reshard
from clip_assets.reshard.subset_shards import subset_shards
from clip_assets.settings import Settings
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import P, Pair, image_shards_of
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.reshard.tars import (
    contents,
    every_key,
    keys,
    pair,
    pairs_of,
    subset,
    uid,
    written,
)
from clip_assets_tests.upstream import MadeUp

NAME = Key("no_filter")
BOX = [0.25, 0.25, 0.75, 0.75]


def put_subset(made: MadeUp, numbers: list[int]) -> None:
    """Make up the subset."""
    listed = uids.in_order(pairs_of([uid(number) for number in numbers]))

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, listed)

    made.make(layout.SUBSETS, NAME, len(listed), {layout.subset(NAME): write})


@pytest.fixture
def asked(made: MadeUp) -> MadeUp:
    """A pool of two partitions, and a subset of five samples whose shards are asked for."""
    image_shards_of(made, partition_key(0), [[pair(n) for n in range(4)], [pair(4)]])
    image_shards_of(made, partition_key(1), [[pair(n) for n in range(10, 14)]])
    put_subset(made, [1, 4, 10, 13, 13])
    made.set(subset_shards={NAME: {"shard_size": 2}})
    return made


def tars(made: MadeUp) -> list[bytes]:
    """The shards of the subset, in order."""
    names = made.store.list(layout.subset_shard_folder(NAME))
    return [made.store.read_bytes(name) for name in names if name.endswith(".tar")]


def test_samples_of_all_partitions_are_in_the_shards(asked: MadeUp) -> None:
    report = subset_shards(asked.pool, NAME).manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (5, 5, {"no_image": 0})
    assert [keys(tar) for tar in tars(asked)] == [
        [f"{uid(1)}-0", f"{uid(4)}-0"], [f"{uid(10)}-0", f"{uid(13)}-0"], [f"{uid(13)}-1"],
    ]  # fmt: skip
    assert subset_shards(asked.pool, NAME).reused


def test_other_subsets_have_none(made: MadeUp) -> None:
    with pytest.raises(MissingArtifactError):
        subset_shards(made.pool, NAME)
    put_subset(made, [1, 4])
    made.set(subset_shards={"basic_filter": {}})
    manifest = subset_shards(made.pool, NAME).manifest
    assert (manifest.outputs, manifest.report.rows_in) == ([], 0)
    assert manifest.report.figures == {"asked_for": False}


def test_shards_that_are_asked_for_no_more_are_removed(asked: MadeUp) -> None:
    subset_shards(asked.pool, NAME)
    put_subset(asked, [1])
    subset_shards(asked.pool, NAME)
    assert [keys(tar) for tar in tars(asked)] == [[f"{uid(1)}-0"]]
    put_subset(asked, [])
    subset_shards(asked.pool, NAME)
    assert tars(asked) == []


def test_pairs_whose_image_was_not_had_are_counted(asked: MadeUp) -> None:
    put_subset(asked, [1, 77, 77])
    report = subset_shards(asked.pool, NAME).manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (3, 1, {"no_image": 2})


def test_another_image_makes_them_stale(asked: MadeUp) -> None:
    subset_shards(asked.pool, NAME)
    image_shards_of(asked, partition_key(1), [[pair(n, 99) for n in range(10, 14)]])
    record = asked.pool.assets[layout.SUBSET_SHARDS]
    assert record.state(asked.pool, NAME) == "stale"
    before = tars(asked)
    assert subset_shards(asked.pool, NAME).manifest.report.rows_out == 5
    assert [tar == old for tar, old in zip(tars(asked), before, strict=True)] == [
        True, False, False,
    ]  # fmt: skip


def identities(made: MadeUp) -> dict[str, tuple[int, int]]:
    """What tells a shard from one that was written anew, by its file's name."""
    files = Path(made.store.base, layout.subset_shard_folder(NAME)).iterdir()
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.fixture
def local(local_store: Store) -> MadeUp:
    """A pool on the disk with a partition of five samples, and shards of four of them."""
    made = MadeUp(local_store)
    image_shards_of(made, P, [[pair(n) for n in range(4)], [pair(4)]])
    put_subset(made, [0, 1, 2, 4])
    made.set(subset_shards={NAME: {"shard_size": 2}})
    return made


def put_metadata(made: MadeUp, key: Key, rows: dict[int, float | None]) -> None:
    """Make up a score of some pairs, and one face of each."""
    boxes = pa.array([[BOX] for _ in rows], pa.list_(pa.list_(pa.float64())))
    uids = [uid(number) for number in rows]
    table = pa.table({"uid": uids, "score": pa.array(rows.values()), "face_bboxes": boxes})
    write = partial(pq.write_table, table)
    made.make(layout.POOL_METADATA, key, len(rows), {layout.pool_rows(key): write})


def test_only_shards_are_written_that_are_made_from_something_else(local: MadeUp) -> None:
    subset_shards(local.pool, NAME)
    before = identities(local)
    image_shards_of(local, partition_key(1), [[pair(n) for n in range(10, 14)]])
    put_subset(local, [0, 1, 2, 10, 11])
    manifest = subset_shards(local.pool, NAME).manifest
    after = identities(local)
    assert len(after) == len(manifest.outputs) == 6
    assert {name for name in before if after[name] == before[name]} == {
        "00000000.tar", "00000000_stats.json",
    }  # fmt: skip
    assert manifest.report.figures["shards_kept"] == 1
    kept = [local.pool.store.read_bytes(output.path) for output in manifest.outputs]
    digests = [hashlib.sha256(content).hexdigest() for content in kept]
    assert digests == [output.sha256 for output in manifest.outputs]
    local.set(subset_shards={NAME: {"shard_size": 2, "seed": 1}})
    assert subset_shards(local.pool, NAME).manifest.report.figures["shards_kept"] == 0


def test_a_shard_that_was_replaced_by_a_killed_run_is_not_kept(
    local: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = subset_shards(local.pool, NAME).manifest.digest()
    local.set(subset_shards={NAME: {"shard_size": 1}})
    with monkeypatch.context() as patch:
        patch.setattr(KeptShards, "publish_stats", killed)
        with pytest.raises(KeyboardInterrupt):
            subset_shards(local.pool, NAME)
    local.set(subset_shards={NAME: {"shard_size": 2}})
    again = subset_shards(local.pool, NAME).manifest
    assert again.report.figures["shards_kept"] < 2
    assert again.digest() == whole
    assert sorted(identities(local)) == sorted(Path(o.path).name for o in again.outputs)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_samples_are_changed_as_by_the_command(local: MadeUp, tmp_path: Path) -> None:
    pairs = [Pair(n, image=encoded(draw(n)), fields={"uid": uid(n)}) for n in range(5)]
    image_shards_of(local, P, [pairs])
    put_metadata(local, P, {n: n / 2 for n in range(5)})
    how = {"shard_size": 2, "columns": ["score"], "blur_faces": True}
    local.set(subset_shards={NAME: how})
    subset_shards(local.pool, NAME)
    metadata = str(Path(local.store.base, "metadata"))
    options = Options(2, metadata=metadata, columns=("score",), blur_faces=True)
    file = subset(tmp_path / "s.npy", [0, 1, 2, 4])
    inputs = [str(Path(local.store.base, layout.shard_tar(P, 0)))]
    reshard(file, str(tmp_path / "out"), inputs, options)
    assert tars(local) == written(tmp_path / "out")

    record, before = local.pool.assets[layout.SUBSET_SHARDS], identities(local)
    put_metadata(local, P, {0: 0.0, 1: 0.5, 2: None, 3: 9.0, 4: 2.0})
    assert record.state(local.pool, NAME) == "stale"
    subset_shards(local.pool, NAME)
    after = identities(local)
    assert [before[name] == after[name] for name in sorted(after)] == [True, True, False, False]
    assert json.loads(contents(tars(local)[1])[f"{uid(2)}-0"]["json"])["score"] is None

    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"uid": [uid(0)], "score": [7.0]}), other)
    local.set(subset_shards={NAME: how | {"blur_faces": False, "metadata": str(other)}})
    subset_shards(local.pool, NAME)
    assert json.loads(contents(tars(local)[0])[f"{uid(0)}-0"]["json"])["score"] == 7.0
    os.utime(other, (1, 1))
    assert record.state(local.pool, NAME) == "stale"


def test_shards_of_no_subset_are_refused() -> None:
    with pytest.raises(ValueError, match=r"subset_shards names 'nofilter'.*nearest is no_filter"):
        Settings(subset_shards={"nofilter": {}})  # pyright: ignore[reportArgumentType]


def test_what_a_run_finished_before_it_was_stopped_is_kept(local_store: Store) -> None:
    local_made = MadeUp(local_store)
    image_shards_of(local_made, P, [[pair(n) for n in range(4)], [pair(4)]])
    put_subset(local_made, [1, 2, 4])
    local_made.set(subset_shards={NAME: {"shard_size": 2}})
    whole = subset_shards(local_made.pool, NAME).manifest
    local_made.store.delete(layout.manifest(layout.SUBSET_SHARDS, NAME))
    local_made.store.delete(subset_tar_stats(NAME, 1))
    second = Path(local_made.store.base, layout.shard_tar(P, 1))
    content, time_ns = second.read_bytes(), second.stat().st_mtime_ns
    for stored in (bytes(len(content)), content):
        second.write_bytes(stored)
        os.utime(second, ns=(time_ns, time_ns))
        if stored != content:
            with pytest.raises(SchemaError, match="changed"):
                subset_shards(local_made.pool, NAME)
    again = subset_shards(local_made.pool, NAME).manifest
    assert (whole.report.figures["shards_kept"], again.report.figures["shards_kept"]) == (0, 1)
    assert again.digest() == whole.digest()
    assert local_made.store.list(layout.work(layout.SUBSET_SHARDS, NAME)) == []


@pytest.mark.parametrize("kind", [subset_tar, subset_tar_stats])
def test_a_damaged_file_is_made_again(asked: MadeUp, kind: "layout.Artifact[[str, int]]") -> None:
    manifest = subset_shards(asked.pool, NAME).manifest
    path = kind(NAME, 1)
    before = asked.store.read_bytes(path)
    asked.store.delete(path)
    subset_shards(asked.pool.mending(manifest, [path]), NAME)
    assert asked.store.read_bytes(path) == before
    assert asked.pool.catalog.require(layout.SUBSET_SHARDS, NAME) == manifest


def test_reshard_gives_nothing_that_was_taken_down_of_its_pool(
    asked: MadeUp, tmp_path: Path
) -> None:
    file, root = str(subset(tmp_path / "s.npy", [1, 4, 4, 13, 13])), asked.store.uri()
    nothing = schemas.TAKEDOWNS.empty_table()
    takedowns.take_down(asked.store, [uid(4)], [], nothing, None)
    done = reshard(file, str(tmp_path / "out"), [root])
    assert (done.samples, done.taken_down, done.missing) == (3, 1, 0)
    assert every_key(tmp_path / "out") == [f"{uid(1)}-0", f"{uid(13)}-0", f"{uid(13)}-1"]
    takedowns.take_down(asked.store, [uid(1), uid(13)], [], nothing, None)
    with pytest.raises(ConfigurationError, match="taken down"):
        reshard(file, str(tmp_path / "none"), [root])
