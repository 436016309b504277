"""Image shards and embeddings as one step of Dagster."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from clip_assets import layout
from clip_assets.definitions import build_defs
from clip_assets.defs.embeddings import embeddings
from clip_assets.defs.images import image_shards
from clip_assets.graph import ASSETS
from clip_assets.orchestration.checks import COUNTS, IMAGES, VECTORS
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.runs import PoolRun
from clip_assets_tests.download.pairs import encode
from clip_assets_tests.download.web import Web, serving
from clip_assets_tests.pools import KEYS, three_partitions

UP_TO_VECTORS = "*embeddings"


@pytest.fixture
def site() -> Iterator[Web]:
    """Thirty images, of which the pool has 28 pairs."""
    with serving() as found:
        for number in range(30):
            found.serve(f"/{number}.jpg", encode(size=(64 + number, 48)))
        yield found


@pytest.fixture
def resource(tmp_path: Path, site: Web, monkeypatch: pytest.MonkeyPatch) -> PoolResource:
    """A fused pool of three partitions."""
    for name in ("CLIP_ASSETS_ROOT", "CLIP_ASSETS_POOL"):
        monkeypatch.delenv(name, raising=False)
    inference = {"model": "demo", "fused": True}
    download = {"allow_hosts": ["127.0.0.0/8"], "samples_per_shard": 4, "retries": 0}
    return three_partitions(tmp_path, site.url(""), inference=inference, download=download)


@pytest.fixture
def pool_run(resource: PoolResource, instance: dg.DagsterInstance) -> PoolRun:
    return PoolRun(build_defs(resource), resource, instance)


def verdicts(instance: dg.DagsterInstance, asset: str, check: str) -> dict[str | None, str]:
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    return {one.partition: one.status.value for one in history}


def figures(resource: PoolResource, key: layout.Key) -> dict[str, object]:
    return dict(resource.open().catalog.require(layout.EMBEDDINGS, key).report.figures)


def materialized(instance: dg.DagsterInstance, asset: str) -> dict[str | None, set[str]]:
    """Metadata of the last materialization of each key."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=20, ascending=True).records
    return {one.partition_key: {*one.asset_materialization.metadata} for one in records}


def test_one_step_makes_both_and_tells_of_each_what_the_two_tell(
    pool_run: PoolRun, resource: PoolResource, instance: dg.DagsterInstance, site: Web
) -> None:
    answer = site.pages["/2.jpg"]
    site.serve("/2.jpg", status=503)
    summary = pool_run.run(UP_TO_VECTORS)
    assert summary.failures == {}
    (run_id,) = summary.runs
    steps = {one.step_key for one in instance.get_run_step_stats(run_id)}
    assert layout.IMAGE_SHARDS in steps
    assert layout.EMBEDDINGS not in steps
    for key in KEYS:
        assert figures(resource, key)["chunks_ahead"] == 3 - (key == KEYS[1])
    for asset, checks in (
        (layout.IMAGE_SHARDS, {COUNTS, IMAGES}),
        (layout.EMBEDDINGS, {COUNTS, VECTORS}),
    ):
        told = materialized(instance, asset)
        assert set(told) == set(KEYS)
        assert all("dagster/partition_row_count" in names for names in told.values())
        for check in checks:
            assert verdicts(instance, asset, check) == dict.fromkeys(KEYS, "SUCCEEDED")
    assert len(pool_run.run(UP_TO_VECTORS).runs) == 1, "nothing is left to do"
    site.pages["/2.jpg"] = answer
    summary = pool_run.run(UP_TO_VECTORS, retry=[])
    assert summary.retried == {KEYS[0]: {"retried": 1, "recovered": 1}}
    assert figures(resource, KEYS[0])["vectors_kept"] == 9


def test_each_alone_is_made_alone(pool_run: PoolRun, resource: PoolResource) -> None:
    assert pool_run.run(f"*{layout.IMAGE_SHARDS}").failures == {}
    pool = resource.open()
    assert {*ASSETS[layout.EMBEDDINGS].states(pool, KEYS).values()} == {"missing"}
    assert not pool.store.list("work")
    assert pool_run.run(layout.EMBEDDINGS).failures == {}
    assert figures(resource, KEYS[0])["chunks_ahead"] == 0


def test_what_stops_one_asset_or_partition_is_told_of_it_alone(
    pool_run: PoolRun,
    resource: PoolResource,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIP_ASSETS_INFERENCE__MODEL", f"local-dir:{tmp_path / 'none'}")
    run = PoolRun(build_defs(resource), resource, instance)
    summary = run.run(UP_TO_VECTORS)
    assert set(summary.failures) == {f"{layout.EMBEDDINGS} {key}" for key in KEYS}
    assert set(materialized(instance, layout.IMAGE_SHARDS)) == set(KEYS)
    assert materialized(instance, layout.EMBEDDINGS) == {}
    monkeypatch.delenv("CLIP_ASSETS_INFERENCE__MODEL")
    # Damage that only a download of the second partition meets.
    pool = resource.open()
    pool.store.delete(layout.manifest(layout.IMAGE_SHARDS, KEYS[1]))
    pool.store.write_bytes(layout.unique(KEYS[1]), b"no parquet")
    summary = PoolRun(build_defs(resource), resource, instance).run(UP_TO_VECTORS)
    assert [name.split(":")[0] for name in summary.failures] == [f"{layout.IMAGE_SHARDS} {KEYS[1]}"]
    assert set(materialized(instance, layout.EMBEDDINGS)) == {KEYS[0], KEYS[2]}


def test_the_step_has_the_needs_of_embedding(resource: PoolResource) -> None:
    defs = build_defs(resource)
    dg.Definitions.validate_loadable(defs)
    both = defs.resolve_assets_def(layout.EMBEDDINGS)
    assert both.keys == {image_shards.key, embeddings.key}
    assert both.op.name == image_shards.op.name
    assert both.op.pool == embeddings.op.pool
    told, *alone = (
        json.loads(asset.op.tags["dagster-ray/config"])
        for asset in (both, embeddings, image_shards)
    )
    assert told["num_gpus"] == 1
    assert told["memory"] == sum(one["memory"] for one in alone)
    for alone in (image_shards, embeddings):
        (spec,) = [spec for spec in both.specs if spec.key == alone.key]
        (own,) = alone.specs
        assert spec.replace_attributes(automation_condition=None, skippable=False) == own
    told = {spec.key for spec in both.check_specs}
    assert told == {*image_shards.check_keys, *embeddings.check_keys}


def test_settings_that_cannot_be_read_fuse_nothing(tmp_path: Path) -> None:
    (tmp_path / layout.SETTINGS_FILE).write_text("inference: [")
    resource = PoolResource(root=str(tmp_path))
    assert not resource.is_fused()
    assert build_defs(resource).resolve_assets_def(layout.EMBEDDINGS).keys == {embeddings.key}
