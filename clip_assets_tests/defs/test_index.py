"""What Dagster says of an index that finds too little."""

import dagster as dg
import pytest

from clip_assets import layout
from clip_assets.defs.index import faiss_index, id_mapping
from clip_assets.index import versions
from clip_assets.orchestration.checks import COUNTS, RECALL
from clip_assets.orchestration.resources import PoolResource
from clip_assets.storage.store import Store
from clip_assets_tests.index.conftest import RandomVectors

LISTS = {"flat_limit": 50}


@pytest.mark.parametrize(("least", "passes"), [(0.8, True), (1, False)])
def test_an_index_that_finds_too_little_fails_its_check_and_is_not_served(
    instance: dg.DagsterInstance, local_store: Store, least: float, passes: bool
) -> None:
    made = RandomVectors(local_store, index=LISTS)
    made.embed(0, 800)
    made.recipe()
    made.segment()
    settings = f"index: {{flat_limit: {LISTS['flat_limit']}, least_recall: {least}}}\n"
    made.store.write_bytes(layout.SETTINGS_FILE, settings.encode())
    result = dg.materialize(
        [faiss_index, id_mapping],
        instance=instance,
        resources={"pool": PoolResource(root=made.store.base)},
        raise_on_error=False,
    )
    told = {
        check.check_name: check
        for check in result.get_asset_check_evaluations()
        if check.asset_key == faiss_index.key
    }
    assert told[RECALL].passed is told[COUNTS].passed is passes
    assert (versions.current(made.store) is not None) is passes
    if passes:
        [event] = result.asset_materializations_for_node("faiss_index")
        assert 0 < event.metadata["uncertainty_image_text"].value < 0.1
    else:
        assert "expected 1.000 at least (index.least_recall 1" in str(told[RECALL].description)
        assert "It was not made" in str(told[COUNTS].description)
    [spec] = [spec for spec in faiss_index.check_specs if spec.name == RECALL]
    assert spec.blocking
