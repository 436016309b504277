"""The graph from source files to search results, by the commands people type."""

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.pools import CHECKOUT, PoolAt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ASSETS = ["raw_pairs", "unique_pairs", "image_shards", "embeddings", "pool_metadata"]


def contents(store: Store) -> dict[str, bytes]:
    """Bytes of everything that a rerun must give again."""
    folders = (layout.EMBEDDINGS, "unique", "subsets", "segments")
    return {path: store.read_bytes(path) for folder in folders for path in store.list(folder)}


def test_files_become_search_results_and_outlive_the_instance(
    pool_at: PoolAt, tmp_path: Path
) -> None:
    world = pool_at.world
    pool_at.cli("add", str(pool_at.folder / "sources"))
    pool_at.cli("run")
    status = json.loads(pool_at.cli("status", "--json"))
    assert {state for states in status["partitions"].values() for state in states.values()} == {
        "done"
    }
    assert set(status["pool"].values()) == {"done"}
    assert status["rows"]["raw_pairs"] == world.rows
    assert status["rows"]["unique_pairs"] == world.unique_pairs
    assert status["rows"]["image_shards"] == status["rows"]["embeddings"] == world.successes
    assert status["rows"]["pool_metadata"] == world.unique_pairs
    uids = np.load(pool_at.root / layout.subset(Key("no_filter")))
    assert len(uids) == world.successes
    hits = json.loads(pool_at.cli("search", "a red circle", "-k", "5", "--json"))
    assert len(hits) == 5
    assert world.matches(hits[0]["url"], "a red circle")
    again = json.loads(pool_at.cli("search", "--uid", hits[0]["uid"], "-k", "1", "--json"))
    assert again[0]["uid"] == hits[0]["uid"]
    assert again[0]["similarity"] == pytest.approx(1, abs=2e-3)
    assert "nothing to do" in pool_at.cli("run")
    assert "0 new partitions" in pool_at.cli("add", str(pool_at.folder / "sources"))
    keys = list(status["partitions"])
    _runs_are_in_the_instance(pool_at, keys)
    _lost_instance_is_rebuilt(pool_at, keys)
    _another_model_is_refused_with_both_named(pool_at, tmp_path)


def _runs_are_in_the_instance(pool_at: PoolAt, keys: list[str]) -> None:
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        for asset in ASSETS:
            key = dg.AssetKey(asset)
            assert instance.get_materialized_partitions(key) == set(keys)
            records = instance.fetch_materializations(key, limit=100).records
            per_partition = {
                record.partition_key: record.asset_materialization for record in records
            }
            metadata = per_partition[keys[0]]
            assert metadata is not None
            assert "dagster/partition_row_count" in metadata.metadata


def _lost_instance_is_rebuilt(pool_at: PoolAt, keys: list[str]) -> None:
    before = contents(pool_at.store)
    pool_at.new_instance()
    pool_at.cli("run")
    assert contents(pool_at.store) == before
    _runs_are_in_the_instance(pool_at, keys)
    assert "nothing to do" in pool_at.cli("run")


def _another_model_is_refused_with_both_named(pool_at: PoolAt, tmp_path: Path) -> None:
    from clip_assets.encoders.openclip import loading

    before = contents(pool_at.store)
    folder = tmp_path / "other-model"
    shutil.copytree(loading.DEMO_FOLDER, folder)
    _scale_weights(folder)
    other = replace(pool_at, variables={"CLIP_ASSETS_INFERENCE__MODEL": f"local-dir:{folder}"})
    output = other.cli("run", "--select", "embeddings", "--partitions", "all", code=1)
    assert "ModelMismatchError" in output
    assert "other-model" in output
    assert "'demo'" in output
    assert "other-model" in other.cli("search", "a red circle", code=2)
    assert contents(pool_at.store) == before


def _scale_weights(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    name = "text_projection"
    save_file(tensors | {name: tensors[name] * 1.5}, weights)


def test_vanished_source_fails_alone_and_is_made_good_later(pool_at: PoolAt) -> None:
    pool_at.add_world()
    keys = list(pool_at.status()["partitions"])
    lost = Path(_first_source(pool_at, keys[1]))
    shutil.move(lost, lost.with_suffix(".away"))
    output = pool_at.cli("run", code=1)
    assert f"failed: raw_pairs {keys[1]}" in output
    assert lost.name in output
    states = pool_at.status()["partitions"]
    assert states[keys[1]]["raw_pairs"] == "failed"
    for key in keys[:1] + keys[2:]:
        assert set(states[key].values()) == {"done"}, "the others are finished and indexed"
    assert json.loads(pool_at.cli("search", "a red circle", "--json"))
    shutil.move(lost.with_suffix(".away"), lost)
    pool_at.cli("run", "--partitions", "failed")
    assert pool_at.status()["partitions"][keys[1]]["raw_pairs"] == "done"
    pool_at.cli("run")
    status = pool_at.status()
    assert {state for found in status["partitions"].values() for state in found.values()} == {
        "done"
    }
    assert status["rows"]["unique_pairs"] == pool_at.world.unique_pairs, "as if it had never failed"


def _first_source(pool_at: PoolAt, key: str) -> str:
    plan = json.loads(pool_at.store.read_bytes(layout.plan(Key(key))))
    return plan["ranges"][0]["uri"].removeprefix("file://")


def test_killed_embeddings_go_on_after_the_last_chunk(pool_at: PoolAt) -> None:
    pool_at.add_world()
    pool_at.cli("run", "--select", "*image_shards")
    shutil.copytree(pool_at.root, pool_at.folder / "whole")
    pool_at.cli(
        *("run", "--select", "embeddings"),
        "--root",
        str(pool_at.folder / "whole"),
        "--pool",
        str(pool_at.root / layout.SETTINGS_FILE),
    )
    process = pool_at.start("clip-assets", "run", "--select", "embeddings")
    work = pool_at.root / "work" / "embeddings"
    while not (chunks := list(work.rglob("*.arrow"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = Key(chunks[0].parent.name)
    finished = len(list((work / killed).glob("*.arrow")))
    pool_at.cli("run", "--select", "embeddings")
    report = pool_at.catalog.require("embeddings", killed).report
    assert report.figures["chunks_resumed"] == finished >= 1
    assert contents(pool_at.store) == contents(Store.open(str(pool_at.folder / "whole")))
    assert not list(work.rglob("*.arrow"))


def test_two_runs_of_one_partition_at_once(pool_at: PoolAt) -> None:
    pool_at.add_world()
    pool_at.cli("run", "--select", "*unique_pairs")
    processes = [
        pool_at.start("clip-assets", "run", "--select", "image_shards", "--partitions", "00000")
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=200) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 0], [0, 1]), outputs
    if codes == [0, 1]:
        assert any("no other writer" in errors for _, errors in outputs)
    manifest = pool_at.catalog.require("image_shards", Key("00000"))
    for output in manifest.outputs:
        assert pool_at.store.size(output.path) == output.size_bytes
    rows = [
        tables.count(pool_at.store, output.path)
        for output in manifest.outputs
        if layout.shard_rows.holds(output.path)
    ]
    assert sum(rows) == manifest.report.rows_in


def test_dagster_commands_with_and_without_a_partition(pool_at: PoolAt) -> None:
    pool_at.add_world()
    keys = list(pool_at.status()["partitions"])
    pool_at.run(
        "dagster", "asset", "materialize", "--select", "*image_shards", "--partition", keys[0]
    )
    # The step of a fused pool makes what is asked for of its two assets.
    pool_at.variables["CLIP_ASSETS_INFERENCE__FUSED"] = "true"
    pool_at.run("dagster", "asset", "materialize", "--select", "embeddings", "--partition", keys[0])
    states = pool_at.status()["partitions"]
    assert states[keys[0]]["embeddings"] == "done"
    assert {states[key]["raw_pairs"] for key in keys[1:]} == {"missing"}
    unknown = ("asset", "materialize", "--select", "embeddings", "--partition", "77777")
    assert "77777" in pool_at.run("dagster", *unknown, code=1)
    # Without a partition: everything that is missing, each recorded on its own.
    pool_at.run("dagster", "asset", "materialize", "--select", "*embeddings")
    states = pool_at.status()["partitions"]
    assert {states[key]["embeddings"] for key in keys} == {"done"}
    ahead = [
        pool_at.catalog.require("embeddings", Key(key)).report.figures["chunks_ahead"]
        for key in keys
    ]
    assert ahead[0] == 0
    assert all(ahead[1:])
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("embeddings")) == set(keys)


def test_code_location_is_valid_for_dagster(pool_at: PoolAt) -> None:
    pool_at.run("dagster", "definitions", "validate", "-w", str(CHECKOUT / "workspace.yaml"))
