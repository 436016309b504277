"""How an asset of the table is declared to Dagster.

A declaration says what only Dagster wants to know: group, kinds, what a step needs. Name, code
version, partitions, dependencies and columns are those of the asset's record.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from clip_assets import graph, layout
from clip_assets.orchestration.checks import counts_check
from clip_assets.orchestration.fill import fills_missing, takes_a_range
from clip_assets.orchestration.partitions import AXES
from clip_assets.orchestration.reports import column_schema
from clip_assets.pool.asset import Asset

BATCH = dg.BackfillPolicy.single_run() if takes_a_range() else dg.BackfillPolicy.multi_run(32)
"""Keys that one run of a backfill goes through; its start-up is paid once."""

Declaration = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def declared(
    record: Asset,
    *,
    group: str,
    kinds: set[str],
    needs: dict[str, Any],
    concurrency_pool: str | None = None,
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> Declaration:
    """Declare an asset of the table; the function below makes it.

    Args:
        record: its record.
        group: in the UI.
        kinds: of its files and tools.
        needs: tags of ``executors.needs``.
        concurrency_pool: Dagster's, which limits how many steps run at once.
        checks: beside the one of counts.
    """
    partitions = partitions_of(record)
    return dg.asset(
        name=record.name,
        code_version=record.version,
        partitions_def=partitions,
        backfill_policy=BATCH if partitions else None,
        deps=[_dependency(record, name) for name in record.deps],
        metadata=_columns(record),
        group_name=group,
        kinds=kinds,
        owners=["team:data"],
        op_tags=needs,
        pool=concurrency_pool,
        check_specs=[counts_check(record), *checks],
    )


def declared_together(
    name: str, *assets: dg.AssetsDefinition, needs: dict[str, Any], concurrency_pool: str
) -> Declaration:
    """Declare assets as one step, which makes those of them that a run selects.

    Args:
        name: of the step.
        assets: as each is declared alone, all of one axis.
        needs: tags of ``executors.needs``.
        concurrency_pool: Dagster's, which limits how many steps run at once.
    """
    return dg.multi_asset(
        name=name,
        specs=[spec for asset in assets for spec in asset.specs],
        check_specs=[spec for asset in assets for spec in asset.check_specs],
        can_subset=True,
        partitions_def=assets[0].partitions_def,
        backfill_policy=assets[0].backfill_policy,
        op_tags=needs,
        pool=concurrency_pool,
    )


def partitions_of(record: Asset) -> dg.PartitionsDefinition | None:
    """What an asset is partitioned by in this process, see ``fill``."""
    return None if fills_missing() else AXES.get(record.axis)


def _dependency(record: Asset, name: str) -> dg.AssetDep:
    upstream = graph.ASSETS[name]
    crosses = upstream.axis != record.axis and partitions_of(upstream) and partitions_of(record)
    return dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping() if crosses else None)


def _columns(record: Asset) -> dict[str, Any] | None:
    """Columns of the asset's first table, for the UI."""
    tables = [kind.schema for kind in layout.ARTIFACTS if kind.made_by == record.name]
    schema = next((schema for schema in tables if schema is not None), None)
    return column_schema(schema) if schema else None
