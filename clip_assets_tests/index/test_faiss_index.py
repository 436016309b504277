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
from clip_assets.errors import DamagedError, MissingArtifactError, NotReadyError, SchemaError
from clip_assets.index import versions
from clip_assets.index.faiss_index import faiss_index_inputs
from clip_assets.layout import WHOLE
from clip_assets_tests.index.conftest import RandomVectors


def read(made: RandomVectors, version: str, side: str = "image") -> faiss.Index:
    with made.store.local(layout.index(version, side)) as file:
        return faiss.read_index(str(file))


def ranges(made: RandomVectors, version: str) -> list[tuple[int, int, str | None]]:
    slots = versions.read(made.store, version).slots
    return [(slot.start, slot.count, slot.content and slot.content.partition) for slot in slots]


def merged(made: RandomVectors) -> str:
    return made.merge().manifest.report.figures["version"]


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_every_vector_is_found_under_its_id(made_anywhere: RandomVectors, flat_limit: int) -> None:
    made_anywhere.set(index={"flat_limit": flat_limit})
    keys = [made_anywhere.embed(number, 60 + number) for number in range(3)]
    made_anywhere.recipe()
    made_anywhere.segment()
    version = merged(made_anywhere)
    start = 0
    for key in keys:
        for side in layout.SIDES:
            queries = made_anywhere.vectors(key, side).astype(np.float32)
            _, nearest = read(made_anywhere, version, side).search(queries, 1)
            assert nearest[:, 0].tolist() == list(range(start, start + len(queries)))
        start += len(queries)
    assert ranges(made_anywhere, version) == [
        (0, 60, "00000"),
        (60, 61, "00001"),
        (121, 62, "00002"),
    ]


def test_the_exact_index_finds_what_brute_force_finds(made: RandomVectors) -> None:
    keys = [made.embed(number, 150) for number in range(2)]
    made.recipe()
    made.segment()
    everything = np.concatenate([made.vectors(key) for key in keys]).astype(np.float32)
    queries = everything[::7] + 0.1
    _, nearest = read(made, merged(made)).search(queries, 10)
    exact = np.argsort(-(queries @ everything.T), axis=1)[:, :10]
    assert [set(row) for row in nearest.tolist()] == [set(row) for row in exact.tolist()]


def test_the_same_segments_make_no_new_version(made: RandomVectors) -> None:
    made.embed(0, 10)
    made.recipe()
    made.segment()
    first, again = made.merge(), made.merge()
    assert again.reused
    assert versions.merged(made.store) == [first.manifest.report.figures["version"]]


def test_old_partitions_keep_their_ids_when_others_come_and_change(made: RandomVectors) -> None:
    made.embed(0, 50)
    made.embed(1, 10)
    first = made.index()
    made.embed(2, 20)
    second = made.index()
    made.embed(1, 12, content="new")
    third = made.index()
    assert [name[:6] for name in (first, second, third)] == ["00001-", "00002-", "00003-"]
    assert ranges(made, first) == [(0, 50, "00000"), (50, 10, "00001")]
    assert ranges(made, second) == [*ranges(made, first), (60, 20, "00002")]
    assert ranges(made, third) == [
        (0, 50, "00000"), (50, 10, None), (60, 20, "00002"), (80, 12, "00001"),
    ]  # fmt: skip
    assert versions.read(made.store, third).previous == second


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_unused_ids_are_in_no_index(made: RandomVectors, flat_limit: int) -> None:
    made.set(index={"flat_limit": flat_limit})
    made.embed(0, 100)
    made.embed(1, 10)
    made.index()
    made.embed(1, 10, content="new")
    version = made.index()
    everything = made.vectors(layout.partition_key(0))[:1].astype(np.float32)
    index = read(made, version)
    parameters = faiss.SearchParametersIVF(nprobe=99) if flat_limit == 50 else None
    _, nearest = index.search(everything, 200, params=parameters)
    used = set(range(100)) | set(range(110, 120))
    assert set(nearest[0].tolist()) - {-1} == used
    assert index.ntotal == 110


def test_rows_that_changed_alone_make_a_new_version(made: RandomVectors) -> None:
    key = made.embed(0, 10)
    made.embed(1, 90)
    made.index()
    before = faiss_index_inputs(made.pool, WHOLE)
    manifest = json.loads(made.store.read_bytes(layout.manifest(layout.EMBEDDINGS, key)))
    for output in manifest["outputs"]:
        if output["path"].endswith(".parquet"):
            output["sha256"] = "0" * 64
    made.store.write_bytes(layout.manifest(layout.EMBEDDINGS, key), json.dumps(manifest).encode())
    assert faiss_index_inputs(made.pool, WHOLE) != before
    assert ranges(made, merged(made)) == [(0, 10, None), (10, 90, "00001"), (100, 10, "00000")]


def test_partitions_without_a_segment_are_named_and_left_out(made: RandomVectors) -> None:
    first, second = made.embed(0, 10), made.embed(1, 10)
    made.recipe()
    made.segment(first)
    figures = made.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_missing"]) == ([first], [second])
    made.segment(second)
    made.embed(0, 12, content="new")
    figures = made.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([second], [first])


def test_partitions_without_a_segment_are_refused_if_so_set(made: RandomVectors) -> None:
    first, second = made.embed(0, 10), made.embed(1, 10)
    made.recipe()
    made.segment(first)
    made.merge()
    made.set(index={"missing_partitions": "refuse"})
    with pytest.raises(MissingArtifactError, match=f"no current segment of {second}"):
        made.merge()
    made.segment(second)
    assert made.merge().manifest.report.figures["partitions_used"] == [first, second]


def test_segments_of_an_older_recipe_never_meet_those_of_the_new(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 50})
    first = made.embed(0, 50)
    made.recipe()
    made.segment()
    second = made.embed(1, 50)
    made.recipe()
    made.segment(second)
    figures = made.merge().manifest.report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([second], [first])


def test_only_segments_of_an_older_recipe_are_not_ready(made: RandomVectors) -> None:
    made.embed(0, 50)
    made.recipe()
    made.segment()
    made.set(index={"flat_limit": 10})
    made.recipe()
    with pytest.raises(NotReadyError, match="present recipe"):
        made.merge()


def test_a_segment_trained_otherwise_is_refused_whatever_its_manifest_says(
    made: RandomVectors,
) -> None:
    made.set(index={"flat_limit": 50})
    made.embed(0, 100)
    made.embed(1, 100)
    made.recipe()
    made.segment()
    other = faiss.index_factory(16, "IVF3,Flat", faiss.METRIC_INNER_PRODUCT)
    other.train(made.vectors(layout.partition_key(1)).astype(np.float32)[:60])
    other.add(made.vectors(layout.partition_key(1)).astype(np.float32))
    path = layout.segment("text", layout.partition_key(1))
    with made.store.publish(path) as part:
        faiss.write_index(other, str(part))
    made.record_files(layout.INDEX_SEGMENTS, layout.partition_key(1))
    with pytest.raises(SchemaError, match=r"00001.index: found vectors that are encoded otherwise"):
        made.merge()
    assert versions.merged(made.store) == []


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_a_truncated_segment_is_refused_and_nothing_is_served(
    made: RandomVectors, flat_limit: int
) -> None:
    made.set(index={"flat_limit": flat_limit})
    made.embed(0, 100)
    before = made.index()
    key = made.embed(1, 100)
    made.recipe()
    made.segment()
    path = layout.segment("image", key)
    content = made.store.read_bytes(path)
    made.store.write_bytes(path, content[: len(content) // 2])
    with pytest.raises(DamagedError, match=r"00001.index: found .* bytes, expected .*--repair"):
        made.merge()
    made.record_files(layout.INDEX_SEGMENTS, key)
    with pytest.raises(SchemaError, match=r"no readable index|cut off"):
        made.merge()
    assert versions.current(made.store) == before
    assert versions.versions(made.store) == [before]


def test_folders_of_a_merge_that_was_cut_off_are_removed(made: RandomVectors) -> None:
    made.embed(0, 10)
    made.store.write_bytes(layout.index("00001-deadbeef", "image"), b"half")
    version = made.index()
    assert version.startswith("00001-")
    assert not made.store.exists(layout.index("00001-deadbeef", "image"))


KILLED = """
import os, signal, sys
from clip_assets import graph
from clip_assets.index.engine import ann
from clip_assets.index import faiss_index
from clip_assets.layout import WHOLE

real = ann.write
def die_after_first(index, part):
    real(index, part)
    os.kill(os.getpid(), signal.SIGKILL) if "text" in part.name else None
ann.write = die_after_first
faiss_index.faiss_index(graph.open_pool(sys.argv[1]), WHOLE)
"""


def test_a_kill_while_merging_leaves_no_version_and_the_next_run_makes_it(
    made: RandomVectors,
) -> None:
    made.embed(0, 10)
    made.recipe()
    made.segment()
    killed = subprocess.run([sys.executable, "-c", KILLED, made.store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.rpartition("/")[2] for path in made.store.list("index")] == ["image.index"]
    assert (versions.merged(made.store), versions.current(made.store)) == ([], None)
    assert made.index() == versions.current(made.store)


@pytest.mark.parametrize("seed", [1, 2])
def test_ids_keep_their_meaning_through_a_random_history(made: RandomVectors, seed: int) -> None:
    chance = random.Random(seed)
    made.set(index={"keep_versions": 99})
    meant: dict[int, str] = {}
    for step in range(8):
        number = chance.randrange(5)
        made.embed(number, chance.randrange(1, 60), content=chance.choice(["", str(step)]))
        version = versions.read(made.store, made.index())
        index = read(made, version.name)
        means: dict[int, str] = {}
        for slot, partition in version.used:
            stored = made.vectors(partition).astype(np.float32)
            ids = np.arange(slot.start, slot.start + slot.count)
            assert np.array_equal(index.reconstruct_batch(ids), stored)
            means |= {
                int(i): f"{partition} {row.tobytes()}" for i, row in zip(ids, stored, strict=True)
            }
        assert index.ntotal == len(means)
        if not version.is_renumbered:
            assert all(means[i] == meaning for i, meaning in meant.items() if i in means)
        meant = means
