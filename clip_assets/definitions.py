"""What Dagster loads: the assets, their resource, executor and automation.

Assembly only: assets and sensors are in ``defs``, what makes them work in ``orchestration``.
"""

import dagster as dg

from clip_assets import defs as catalogue
from clip_assets.defs import file_checks, fused, segments_on_device, sensors
from clip_assets.orchestration.automation import with_conditions
from clip_assets.orchestration.executors import executor
from clip_assets.orchestration.resources import PoolResource


def build_defs(pool: PoolResource | None = None) -> dg.Definitions:
    """Assemble the code location over a pool, by default the one that the environment names."""
    return dg.Definitions.merge(graph_defs(pool), dg.Definitions(executor=executor()))


def graph_defs(pool: PoolResource | None = None) -> dg.Definitions:
    """The graph over a pool, for a code location that has an executor of its own."""
    resource = pool or PoolResource()
    assets = [
        asset
        for asset in dg.load_assets_from_package_module(catalogue)
        if isinstance(asset, dg.AssetsDefinition)
    ]
    if resource.is_fused():
        both = fused.fused()
        assets = [both, *(asset for asset in assets if not asset.keys & both.keys)]
    if resource.is_on_device():
        on_device = segments_on_device.segments_on_device()
        assets = [on_device, *(asset for asset in assets if not asset.keys & on_device.keys)]
    return dg.Definitions(
        assets=dg.map_asset_specs(with_conditions(resource), assets),
        asset_checks=[file_checks.verify_files],
        jobs=[file_checks.VERIFY],
        resources={"pool": resource},
        sensors=[sensors.new_sources, sensors.AUTOMATION],
        schedules=[sensors.catch_up, file_checks.verify_nightly],
    )


defs = build_defs()
