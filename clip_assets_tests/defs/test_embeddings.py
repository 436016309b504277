"""Embeddings in Dagster: one model for all partitions of a run, and vectors that stop it."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from clip_assets import layout
from clip_assets.defs.embeddings import embeddings
from clip_assets.defs.index import index_recipe, index_segments
from clip_assets.encoders.openclip import loading
from clip_assets.orchestration import partitions
from clip_assets.orchestration.checks import COUNTS, VECTORS
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets.settings import InferenceSettings
from clip_assets_tests.pools import KEYS
from clip_assets_tests.upstream import MadeUp

ROWS = 17
"""Enough to see a collapse."""


def tar_of(first: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(first, first + ROWS):
            noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = io.BytesIO()
            Image.fromarray(noise).resize((64, 64)).save(picture, "PNG")
            fields = {"uid": f"{number:032x}", "caption": f"number {number}", "url": "http://h"}
            members = {"png": picture.getvalue(), "json": json.dumps(fields).encode()}
            for extension, content in members.items():
                member = tarfile.TarInfo(f"{number:09d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def shards(resource: PoolResource, instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The pool's three partitions with a tar each."""
    partitions.sync(instance, resource.open())
    made = MadeUp(resource.open().store)
    for number, key in enumerate(KEYS):
        tar = tar_of(100 * number)
        files = {layout.shard_tar(key, 0): lambda part, tar=tar: part.write_bytes(tar)}
        made.make(layout.IMAGE_SHARDS, key, ROWS, files)
    return instance


def run(resource: PoolResource, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [embeddings, index_recipe, index_segments],
        instance=instance,
        resources={"pool": resource},
        tags=range_tags(KEYS[0], KEYS[-1]),
        raise_on_error=False,
    )


def test_a_run_over_several_partitions_loads_the_model_once(
    resource: PoolResource, shards: dg.DagsterInstance
) -> None:
    loading.loaded.cache_clear()
    result = run(resource, shards)
    assert result.success
    assert loading.loaded.cache_info().misses == 1
    checks = {
        (check.check_name, check.partition): check.passed
        for check in result.get_asset_check_evaluations()
        if check.asset_key == embeddings.key
    }
    assert checks == {(name, key): True for name in (COUNTS, VECTORS) for key in KEYS}
    records = shards.fetch_materializations(embeddings.key, limit=9).records
    for record in records:
        told = record.asset_materialization.metadata
        assert told["images_per_s"].value > 0
        assert 0 < told["model_utilisation"].value <= 1
        assert "data:image/png" in str(told["Similarity of image and caption"].value)
    assert {record.partition_key for record in records} == set(KEYS)


def broken_model(folder: Path, factor: float) -> Path:
    """The demo's model with the first weights of its image tower multiplied."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(loading.DEMO_FOLDER, folder)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.conv1.weight"] *= factor
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("factor", [float("nan"), 0.0], ids=["nan", "collapsed"])
def test_unsound_vectors_fail_the_check_and_reach_no_index(
    resource: PoolResource,
    shards: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
) -> None:
    folder = broken_model(tmp_path / "broken", factor)
    monkeypatch.setenv("CLIP_ASSETS_INFERENCE__MODEL", f"local-dir:{folder}")
    result = run(resource, shards)
    assert not result.success
    found = {check.partition: check for check in result.get_asset_check_evaluations()}
    assert {(c.check_name, c.passed) for c in found.values()} == {(VECTORS, False)}
    assert set(found) == set(KEYS)
    assert "image embeddings" in str(found[KEYS[0]].description)
    (spec,) = [spec for spec in embeddings.check_specs if spec.name == VECTORS]
    assert spec.blocking
    for asset in (embeddings, index_recipe, index_segments):
        assert not shards.get_materialized_partitions(asset.key)
        assert shards.get_latest_materialization_event(asset.key) is None
    assert resource.open().store.list("index") == []


def test_a_model_is_loaded_once_in_a_process() -> None:
    demo = InferenceSettings(model="demo")
    first = loading.loaded(demo, "cpu")
    assert loading.loaded(InferenceSettings(model="demo"), "cpu") is first
    other = loading.loaded(demo.model_copy(update={"batch_size": 5}), "cpu")
    assert other is not first
    assert other.batch_size == 5
