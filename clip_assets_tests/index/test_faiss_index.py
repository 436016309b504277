"""Segments become one index, version by version, and ids keep their meaning."""

import json
import random
import signal
import subprocess
import sys

import faiss
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.errors import MissingArtifactError, NotReadyError, SchemaError
from clip_assets.index import versions
from clip_assets.index.faiss_index import faiss_index_inputs
from clip_assets.storage.manifests import Catalog


def read(pool, version: str, side: str = "image") -> faiss.Index:
    with pool.store.local(layout.index(version, side)) as file:
        return faiss.read_index(str(file))


def ranges(pool, version: str) -> list[tuple[int, int, str | None]]:
    found = versions.read(pool.store, version).slots
    return [(slot.start, slot.count, slot.content and slot.content.partition) for slot in found]


def merged(pool) -> str:
    return pool.merge().manifest.report.figures["version"]


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_every_vector_is_found_under_its_id(any_pool, flat_limit: int) -> None:
    any_pool.set(flat_limit=flat_limit)
    keys = [any_pool.embed(number, 60 + number) for number in range(3)]
    any_pool.recipe()
    any_pool.segment()
    version = merged(any_pool)
    start = 0
    for key in keys:
        for side in layout.SIDES:
            queries = any_pool.vectors(key, side).astype(np.float32)
            _, found = read(any_pool, version, side).search(queries, 1)
            assert found[:, 0].tolist() == list(range(start, start + len(queries)))
        start += len(queries)
    assert ranges(any_pool, version) == [(0, 60, "00000"), (60, 61, "00001"), (121, 62, "00002")]


def test_the_exact_index_finds_what_brute_force_finds(pool) -> None:
    keys = [pool.embed(number, 150) for number in range(2)]
    pool.recipe()
    pool.segment()
    everything = np.concatenate([pool.vectors(key) for key in keys]).astype(np.float32)
    queries = everything[::7] + 0.1
    _, found = read(pool, merged(pool)).search(queries, 10)
    exact = np.argsort(-(queries @ everything.T), axis=1)[:, :10]
    assert [set(row) for row in found.tolist()] == [set(row) for row in exact.tolist()]


def test_the_same_segments_make_no_new_version(pool) -> None:
    pool.embed(0, 10)
    pool.recipe()
    pool.segment()
    first, again = pool.merge(), pool.merge()
    assert again.reused
    assert versions.merged(pool.store) == [first.manifest.report.figures["version"]]


def test_old_partitions_keep_their_ids_when_others_come_and_change(pool) -> None:
    pool.embed(0, 50)
    pool.embed(1, 10)
    first = pool.index()
    pool.embed(2, 20)
    second = pool.index()
    pool.embed(1, 12, content="new")
    third = pool.index()
    assert [name[:6] for name in (first, second, third)] == ["00001-", "00002-", "00003-"]
    assert ranges(pool, first) == [(0, 50, "00000"), (50, 10, "00001")]
    assert ranges(pool, second) == [*ranges(pool, first), (60, 20, "00002")]
    assert ranges(pool, third) == [
        (0, 50, "00000"), (50, 10, None), (60, 20, "00002"), (80, 12, "00001"),
    ]  # fmt: skip
    assert versions.read(pool.store, third).previous == second


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_unused_ids_are_in_no_index(pool, flat_limit: int) -> None:
    pool.set(flat_limit=flat_limit)
    pool.embed(0, 100)
    pool.embed(1, 10)
    pool.index()
    pool.embed(1, 10, content="new")
    version = pool.index()
    everything = pool.vectors(layout.partition_key(0))[:1].astype(np.float32)
    index = read(pool, version)
    parameters = faiss.SearchParametersIVF(nprobe=99) if flat_limit == 50 else None
    _, found = index.search(everything, 200, params=parameters)
    used = set(range(100)) | set(range(110, 120))
    assert set(found[0].tolist()) - {-1} == used
    assert index.ntotal == 110


def test_rows_that_changed_alone_make_a_new_version(pool) -> None:
    key = pool.embed(0, 10)
    pool.embed(1, 90)
    pool.index()
    before = faiss_index_inputs(pool.catalog, pool.partitions, pool.settings)
    manifest = json.loads(pool.store.read_bytes(layout.manifest("embeddings", key)))
    for output in manifest["outputs"]:
        if output["path"].endswith(".parquet"):
            output["sha256"] = "0" * 64
    pool.store.write_bytes(layout.manifest("embeddings", key), json.dumps(manifest).encode())
    assert faiss_index_inputs(Catalog(pool.store), pool.partitions, pool.settings) != before
    assert ranges(pool, merged(pool)) == [(0, 10, None), (10, 90, "00001"), (100, 10, "00000")]


def test_partitions_without_a_segment_are_named_and_left_out(pool) -> None:
    first, second = pool.embed(0, 10), pool.embed(1, 10)
    pool.recipe()
    pool.segment(first)
    figures = pool.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_missing"]) == ([first], [second])
    pool.segment(second)
    pool.embed(0, 12, content="new")
    figures = pool.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([second], [first])


def test_partitions_without_a_segment_are_refused_if_so_set(pool) -> None:
    first, second = pool.embed(0, 10), pool.embed(1, 10)
    pool.recipe()
    pool.segment(first)
    pool.merge()
    pool.set(missing_partitions="refuse")
    with pytest.raises(MissingArtifactError, match=f"no current segment of {second}"):
        pool.merge()
    pool.segment(second)
    assert pool.merge().manifest.report.figures["partitions_used"] == [first, second]


def test_segments_of_an_older_recipe_never_meet_those_of_the_new(pool) -> None:
    pool.set(flat_limit=50)
    first = pool.embed(0, 50)
    pool.recipe()
    pool.segment()
    second = pool.embed(1, 50)
    pool.recipe()
    pool.segment(second)
    figures = pool.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([second], [first])


def test_only_segments_of_an_older_recipe_are_not_ready(pool) -> None:
    pool.embed(0, 50)
    pool.recipe()
    pool.segment()
    pool.set(flat_limit=10)
    pool.recipe()
    with pytest.raises(NotReadyError, match="present recipe"):
        pool.merge()


def test_a_segment_trained_otherwise_is_refused_whatever_its_manifest_says(pool) -> None:
    pool.set(flat_limit=50)
    pool.embed(0, 100)
    pool.embed(1, 100)
    pool.recipe()
    pool.segment()
    other = faiss.index_factory(16, "IVF3,Flat", faiss.METRIC_INNER_PRODUCT)
    other.train(pool.vectors(layout.partition_key(1)).astype(np.float32)[:60])
    other.add(pool.vectors(layout.partition_key(1)).astype(np.float32))
    path = layout.segment("text", layout.partition_key(1))
    with pool.store.publish(path) as part:
        faiss.write_index(other, str(part))
    with pytest.raises(SchemaError, match=r"00001.index.*IVFFlat of 3 lists.*IVFFlat of 5 lists"):
        pool.merge()
    assert versions.merged(pool.store) == []


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_a_truncated_segment_is_refused_and_nothing_is_served(pool, flat_limit: int) -> None:
    pool.set(flat_limit=flat_limit)
    pool.embed(0, 100)
    before = pool.index()
    key = pool.embed(1, 100)
    pool.recipe()
    pool.segment()
    path = layout.segment("image", key)
    content = pool.store.read_bytes(path)
    pool.store.write_bytes(path, content[: len(content) // 2])
    with pytest.raises(SchemaError, match="no readable index"):
        pool.merge()
    assert versions.current(pool.store) == before
    assert versions.versions(pool.store) == [before]


def test_folders_of_a_merge_that_was_cut_off_are_removed(pool) -> None:
    pool.embed(0, 10)
    pool.store.write_bytes(layout.index("00001-deadbeef", "image"), b"half")
    version = pool.index()
    assert version.startswith("00001-")
    assert not pool.store.exists(layout.index("00001-deadbeef", "image"))


KILLED = """
import os, signal, sys
from clip_assets import layout
from clip_assets.index import ann
from clip_assets.index import faiss_index
from clip_assets.settings import Index
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

real = ann.write
def die_after_first(index, part):
    real(index, part)
    os.kill(os.getpid(), signal.SIGKILL) if "text" in part.name else None
ann.write = die_after_first
faiss_index.faiss_index(Catalog(Store.open(sys.argv[1])), [layout.partition_key(0)], Index())
"""


def test_a_kill_while_merging_leaves_no_version_and_the_next_run_makes_it(pool) -> None:
    pool.embed(0, 10)
    pool.recipe()
    pool.segment()
    killed = subprocess.run([sys.executable, "-c", KILLED, pool.store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.rpartition("/")[2] for path in pool.store.list("index")] == ["image.index"]
    assert (versions.merged(pool.store), versions.current(pool.store)) == ([], None)
    assert pool.index() == versions.current(pool.store)


@pytest.mark.parametrize("seed", [1, 2])
def test_ids_keep_their_meaning_through_a_random_history(pool, seed: int) -> None:
    chance = random.Random(seed)
    pool.set(keep_versions=99)
    meant: dict[int, str] = {}
    for step in range(8):
        number = chance.randrange(5)
        pool.embed(number, chance.randrange(1, 60), content=chance.choice(["", str(step)]))
        version = versions.read(pool.store, pool.index())
        index = read(pool, version.name)
        means: dict[int, str] = {}
        for slot, partition in version.used:
            stored = pool.vectors(partition).astype(np.float32)
            ids = np.arange(slot.start, slot.start + slot.count)
            assert np.array_equal(index.reconstruct_batch(ids), stored)
            means |= {
                int(i): f"{partition} {row.tobytes()}" for i, row in zip(ids, stored, strict=True)
            }
        assert index.ntotal == len(means)
        if not version.is_renumbered:
            assert all(means[i] == meaning for i, meaning in meant.items() if i in means)
        meant = means
