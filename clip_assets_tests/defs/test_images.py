"""Embeddings in Dagster: one model for all partitions of a run, and vectors that stop it."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from clip_assets import layout
from clip_assets.defs import images
from clip_assets.defs.index import index_recipe, index_segments
from clip_assets.encoders.openclip.loading import DEMO_FOLDER
from clip_assets.orchestration import partitions
from clip_assets.orchestration.bodies import COUNTS, VECTORS
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import Pool
from clip_assets.pool.stages import Stage, materialize
from clip_assets.settings import Inference
from clip_assets.storage.manifests import Catalog, Report

KEYS = [layout.partition_key(number) for number in range(3)]
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
def shards(
    pool: Pool, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> dg.DagsterInstance:
    """The pool's three partitions with a tar each."""
    partitions.sync(instance, pool.store())
    for number, key in enumerate(KEYS):

        def work(run: Any, first: int = 100 * number) -> Report:
            with run.publish(layout.shard_tar(run.partition, 0)) as part:
                part.write_bytes(tar_of(first))
            return Report(rows_in=ROWS, rows_out=ROWS)

        materialize(Catalog(pool.store()), Stage("image_shards", "1"), key, {}, work)
    monkeypatch.setenv("CLIP_ASSETS_DEVICES", "none")
    monkeypatch.setenv("CLIP_ASSETS_INFERENCE__MODEL", "demo")
    return instance


def run(pool: Pool, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [images.embeddings, index_recipe, index_segments],
        instance=instance,
        resources={"pool": pool},
        tags=range_tags(KEYS[0], KEYS[-1]),
        raise_on_error=False,
    )


def test_a_run_over_several_partitions_loads_the_model_once(
    pool: Pool, shards: dg.DagsterInstance
) -> None:
    images.encoder.cache_clear()
    result = run(pool, shards)
    assert result.success
    loads = images.encoder.cache_info()
    assert (loads.misses, loads.hits) == (1, len(KEYS) - 1)
    checks = {
        check.check_name: check.passed
        for check in result.get_asset_check_evaluations()
        if check.asset_key == images.embeddings.key
    }
    assert checks == {COUNTS: True, VECTORS: True}
    records = shards.fetch_materializations(images.embeddings.key, limit=9).records
    for record in records:
        told = record.asset_materialization.metadata
        assert told["images_per_s"].value > 0
        assert 0 < told["model_utilisation"].value <= 1
        assert "data:image/png" in str(told["Similarity of image and caption"].value)
    assert {record.partition_key for record in records} == set(KEYS)


@pytest.mark.parametrize("factor", [float("nan"), 0.0], ids=["nan", "collapsed"])
def test_unsound_vectors_fail_the_check_and_reach_no_index(
    pool: Pool,
    shards: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "broken")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.conv1.weight"] *= factor
    save_file(weights, folder / "open_clip_model.safetensors")
    monkeypatch.setenv("CLIP_ASSETS_INFERENCE__MODEL", f"local-dir:{folder}")
    result = run(pool, shards)
    assert not result.success
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in found.items()} == {COUNTS: True, VECTORS: False}
    assert "image embeddings" in str(found[VECTORS].description)
    (spec,) = [spec for spec in images.embeddings.check_specs if spec.name == VECTORS]
    assert spec.blocking
    for asset in (images.embeddings, index_recipe, index_segments):
        assert not shards.get_materialized_partitions(asset.key)
        assert shards.get_latest_materialization_event(asset.key) is None
    assert pool.store().list("index") == []


def test_a_model_is_loaded_once_in_a_process() -> None:
    demo = Inference(model="demo")
    first = images.encoder(demo, "cpu")
    assert images.encoder(Inference(model="demo"), "cpu") is first
    other = images.encoder(demo.model_copy(update={"batch_size": 5}), "cpu")
    assert other is not first
    assert other.batch_size == 5
