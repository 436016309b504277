"""The code location is what Dagster's tools load; what is in the graph says test_graph.py."""

import dagster as dg

from clip_assets import definitions
from clip_assets.orchestration.resources import Pool


def test_location_has_assets_jobs_sensors_and_the_pool() -> None:
    defs = definitions.build_defs(Pool(root="memory://definitions"))
    dg.Definitions.validate_loadable(defs)
    assert {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()} >= {
        "raw_pairs",
        "faiss_index",
    }
    assert "pool" in (defs.resources or {})
    assert any(sensor.name == "new_sources" for sensor in defs.sensors or [])
