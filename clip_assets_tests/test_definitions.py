"""The code location is what Dagster's tools load; what is in the graph says test_graph.py."""

import dagster as dg

from clip_assets import definitions
from clip_assets.graph import ASSETS
from clip_assets.orchestration.resources import PoolResource


def test_location_has_assets_jobs_sensors_and_the_pool() -> None:
    defs = definitions.build_defs(PoolResource(root="memory://definitions"))
    dg.Definitions.validate_loadable(defs)
    assert {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()} == set(ASSETS)
    assert "pool" in (defs.resources or {})
    assert {sensor.name for sensor in defs.sensors or []} == {"new_sources", "automation"}
    assert [schedule.name for schedule in defs.schedules or []] == [
        "catch_up",
        "verify_nightly",
    ]
