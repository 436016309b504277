"""Checks of published files, through Dagster."""

from pathlib import Path

import dagster as dg

from clip_assets import layout
from clip_assets.definitions import build_defs
from clip_assets.defs.file_checks import FILES
from clip_assets.graph import ASSETS
from clip_assets.layout import Key
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pairs.raw_pairs import raw_pairs


def verified(
    resource: PoolResource, instance: dg.DagsterInstance, *, deep: bool
) -> dict[str, dg.AssetCheckEvaluation]:
    """What the checks say, by asset."""
    job = build_defs(resource).resolve_job_def("verify_files")
    result = job.execute_in_process(
        instance=instance,
        run_config={"ops": {"files": {"config": {"deep": deep}}}},
    )
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {evaluation.check_name for evaluation in evaluations} == {FILES}
    return {evaluation.asset_key.to_user_string(): evaluation for evaluation in evaluations}


def test_damage_fails_the_check_of_its_asset_and_names_the_partition(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    pool = resource.open()
    for number in range(2):
        raw_pairs(pool, layout.partition_key(number))
    before = verified(resource, instance, deep=False)
    assert {*before} == {*ASSETS}
    assert before[layout.RAW_PAIRS].passed
    assert not before[layout.EMBEDDINGS].passed, "there is nothing to look at yet"
    assert before[layout.EMBEDDINGS].severity == dg.AssetCheckSeverity.WARN

    file = Path(pool.store.base, layout.raw(Key("00001")))
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"X" + content[101:])
    assert verified(resource, instance, deep=False)[layout.RAW_PAIRS].passed
    wrong = verified(resource, instance, deep=True)[layout.RAW_PAIRS]
    file.unlink()
    gone = verified(resource, instance, deep=False)[layout.RAW_PAIRS]

    for verdict in (wrong, gone):
        assert not verdict.passed
        assert verdict.severity == dg.AssetCheckSeverity.ERROR
        assert verdict.metadata["damaged_partitions"].value == "00001"
        assert layout.raw(Key("00001")) in (verdict.description or "")
        assert "clip-assets verify --repair" in (verdict.description or "")
