"""When the automation asks for what: level-triggered conditions, derived from the table.

What is missing is asked for as long as it is missing, so an update between two looks of the
daemon is not lost. The stock conditions ``eager`` and ``on_cron`` lose updates or wait for ever
behind one failed partition.
"""

from collections.abc import Callable

import dagster as dg
from dagster import AutomationCondition as When
from dagster._core.asset_graph_view.entity_subset import EntitySubset

from clip_assets.graph import ASSETS
from clip_assets.layout import WHOLE, Key
from clip_assets.orchestration import tries
from clip_assets.orchestration.partitions import AXES
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.variables import whole_number
from clip_assets.pool.asset import Asset

LOOK_EVERY_S = whole_number("CLIP_ASSETS_LOOK_EVERY_S", 30)

JUST_ENDED = (~When.in_progress()).newly_true() & ~When.newly_missing()
"""A run of it ended since the last look. Dagster reads events before it reads which runs go on, so
what that run made may not be seen before the next look. (A new partition is no ended run.)"""


class PauseOver(dg.AutomationCondition[dg.AssetKey]):
    """A key that failed, or whose run died, has waited long enough; see ``tries``."""

    @property
    def name(self) -> str:
        """What the UI shows of it."""
        return f"asked for again {tries.PAUSES}"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult:
        """Of the candidates, those whose pause is over."""
        record, candidates = ASSETS[context.key.to_user_string()], context.candidate_subset
        if candidates.is_empty:
            return dg.AutomationResult(context, true_subset=candidates)
        keys = _keys(candidates) if record.axis in AXES else [WHOLE]
        tried = tries.tries_of(context.asset_graph_view.instance, record, keys)
        now_s = context.evaluation_time.timestamp()
        waiting = {k for k, t in tried.items() if t.due_s is None or t.due_s > now_s}
        if record.axis in AXES:
            due = candidates.compute_intersection_with_partition_keys({*keys} - waiting)
        else:
            due = context.get_empty_subset() if waiting else candidates
        return dg.AutomationResult(context, true_subset=due)


def in_pool(pool: PoolResource) -> dg.AutomationCondition[dg.AssetKey]:
    """The pool has the key. People can type others into Dagster's UI, and no run can make them."""

    class InPool(dg.AutomationCondition[dg.AssetKey]):
        @property
        def name(self) -> str:
            return "a key of the pool"

        def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult:
            known = candidates = context.candidate_subset
            if not candidates.is_empty:
                record = ASSETS[context.key.to_user_string()]
                keys = {*_keys(candidates)}.intersection(pool.open().keys(record.axis))
                known = candidates.compute_intersection_with_partition_keys(keys)
            return dg.AutomationResult(context, true_subset=known)

    return InPool()


def _keys(subset: EntitySubset[dg.AssetKey]) -> list[Key]:
    return [Key(key) for key in subset.expensively_compute_partition_keys()]


def fill_missing(pool: PoolResource) -> When:
    """Ask for a partition that is missing and can be made; for one that failed after a pause."""
    return (
        When.missing()
        & ~When.in_progress()
        & ~JUST_ENDED
        & ~When.any_deps_missing()
        & (~When.execution_failed() | (When.execution_failed() & PauseOver()))
        & in_pool(pool)
    ).with_label("fill missing")


def reencode(pool: PoolResource) -> When:
    """Fill what is missing, and make again what was made from another fan-in than today's."""
    return (
        fill_missing(pool)
        | (
            When.any_deps_match(When.data_version_changed()).since(
                When.newly_requested() | When.newly_updated()
            )
            & ~When.missing()
            & ~When.in_progress()
            & ~When.any_deps_in_progress()
        )
    ).with_label("fill missing, or encode again for another recipe")


def refresh(*, ignore: dg.AssetSelection | None = None) -> When:
    """Refresh a fan-in once, after its partitions have come to rest.

    Args:
        ignore: upstream assets whose updates are no reason to refresh.
    """
    updated = When.any_deps_match(When.newly_updated())
    present = When.any_deps_match(~When.missing())
    if ignore is not None:
        updated, present = updated.ignore(ignore), present.ignore(ignore)
    due = (
        updated.since(When.newly_requested())
        | (When.missing() & ~When.execution_failed())
        | (When.execution_failed() & PauseOver())
    )
    at_rest = (
        ~When.any_deps_in_progress()
        & ~When.in_progress()
        & ~When.any_deps_match(JUST_ENDED)
        & ~JUST_ENDED
    )
    return (due & present & at_rest).with_label("refresh once upstream rests")


def follow(upstream: str) -> When:
    """Materialise in the run that refreshes one upstream asset.

    Args:
        upstream: the asset; updates of others are no reason.
    """
    others = dg.AssetSelection.all() - dg.AssetSelection.assets(upstream)
    moved = When.any_deps_match(When.newly_updated() | When.will_be_requested()).ignore(others)
    due = moved.since(When.newly_requested() | When.newly_updated()) | (
        When.execution_failed() & PauseOver()
    )
    return (due & ~When.in_progress() & ~JUST_ENDED).with_label(f"with {upstream}")


def beside(*, of: str) -> When:
    """Make what people put beside the graph when an asset of it was made; not again if it failed.

    Args:
        of: the asset, on which it depends.
    """
    others = dg.AssetSelection.all() - dg.AssetSelection.assets(of)
    moved = When.any_deps_match(When.newly_updated()).ignore(others)
    due = moved.since(When.newly_requested() | When.newly_updated()) | (
        When.missing() & ~When.execution_failed()
    )
    at_rest = ~When.any_deps_missing() & ~When.in_progress() & ~JUST_ENDED
    return (due & at_rest).with_label(f"when {of} was made")


def condition(record: Asset, pool: PoolResource) -> When:
    """When the automation asks for an asset, by what it is cut by and made from.

    A partition is filled when it is missing. A fan-in follows the fan-in whose rows it
    describes; any other is refreshed when its partitions rest, and a fan-in among its inputs is
    no reason, since it matters through the partitions that it makes stale.
    """
    whole = [name for name in record.deps if ASSETS[name].axis == "pool"]
    if record.axis == "partition":
        return reencode(pool) if whole else fill_missing(pool)
    if record.rows_from in whole:
        return follow(record.rows_from)
    refreshed = refresh(ignore=dg.AssetSelection.assets(*whole) if whole else None)
    if record.axis not in AXES:
        return refreshed
    return (refreshed & in_pool(pool)).with_label("refresh once upstream rests, keys of the pool")


def with_conditions(pool: PoolResource) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """What gives every asset of the table its condition."""

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        record = ASSETS[spec.key.to_user_string()]
        return spec.replace_attributes(automation_condition=condition(record, pool))

    return conditioned
