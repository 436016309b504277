"""What all assets of the graph declare alike.

An asset of this graph names its stage, its group, what it needs and what it is made from;
everything else is the same for each and stands here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from clip_assets.orchestration.automation import FILL_MISSING
from clip_assets.orchestration.bodies import counts_check
from clip_assets.orchestration.partitions import PARTITIONS
from clip_assets.orchestration.reports import column_schema
from clip_assets.pool.stages import Stage

BATCH = dg.BackfillPolicy.multi_run(32)
"""Partitions that one run of a backfill goes through; its start-up is paid once."""

Deps = Sequence[dg.AssetsDefinition]
Declaration = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def partitioned(  # noqa: PLR0913  (an asset's declaration)
    stage: Stage,
    *,
    group: str,
    kinds: set[str],
    needs: dict[str, Any],
    schema: pa.Schema | None = None,
    deps: Deps = (),
    pool: str | None = None,
    condition: dg.AutomationCondition = FILL_MISSING,
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> Declaration:
    """Declare an asset with one part for each partition of the pool.

    Args:
        stage: what makes it; gives name and code version.
        group: in the UI.
        kinds: of its files and tools.
        needs: tags of ``executors.needs``.
        schema: columns of its table, shown in the UI; None where it has no table.
        deps: upstream assets, partition by partition where they are partitioned.
        pool: Dagster's concurrency pool.
        condition: when the automation asks for a partition.
        checks: beside the one of counts.
    """
    return dg.asset(
        name=stage.asset,
        # In a process that fills what is missing, see `partitions.fills_missing`.
        partitions_def=PARTITIONS,
        backfill_policy=BATCH if PARTITIONS else None,
        metadata=column_schema(schema) if schema else None,
        automation_condition=condition,
        **_common(stage, group, kinds, needs, deps, pool, checks),
    )


def fan_in(  # noqa: PLR0913
    stage: Stage,
    *,
    group: str,
    kinds: set[str],
    needs: dict[str, Any],
    deps: Deps,
    condition: dg.AutomationCondition,
    pool: str | None = None,
    description: str | None = None,
) -> Declaration:
    """Declare an asset made from all partitions of the pool.

    Args:
        stage: what makes it; gives key and code version.
        group: in the UI.
        kinds: of its files and tools.
        needs: tags of ``executors.needs``.
        deps: upstream assets.
        condition: when the automation refreshes it.
        pool: Dagster's concurrency pool.
        description: where it is not the docstring.
    """
    return dg.asset(
        key=stage.asset.split("/"),
        description=description,
        automation_condition=condition,
        **_common(stage, group, kinds, needs, deps, pool),
    )


def _common(  # noqa: PLR0913
    stage: Stage,
    group: str,
    kinds: set[str],
    needs: dict[str, Any],
    deps: Deps,
    pool: str | None,
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> dict[str, Any]:
    return {
        "code_version": stage.version,
        "group_name": group,
        "kinds": kinds,
        "owners": ["team:data"],
        "op_tags": needs,
        "deps": list(deps),
        "pool": pool,
        "check_specs": [counts_check(stage.asset), *checks],
    }
