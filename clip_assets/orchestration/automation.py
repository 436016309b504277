"""When the automation asks for what: level-triggered conditions, derived from the table.

What is missing is asked for as long as it is missing, so an update between two looks of the
daemon is not lost. The stock conditions ``eager`` and ``on_cron`` lose updates or wait for ever
behind one failed partition.
"""

from collections.abc import Callable

import dagster as dg
from dagster import AutomationCondition as When

from clip_assets.graph import ASSETS
from clip_assets.layout import Key
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.variables import whole_number
from clip_assets.pool.asset import Asset

LOOK_EVERY_S = whole_number("CLIP_ASSETS_LOOK_EVERY_S", 30)

TRY_AGAIN = When.cron_tick_passed("*/10 * * * *")
"""When work that a crash or another partition's failure prevented is asked for again."""

JUST_ENDED = (~When.in_progress()).newly_true() & ~When.newly_missing()
"""A run of it ended since the last look. Dagster reads events before it reads which runs go on, so
what that run made may not be seen before the next look. (A new partition is no ended run.)"""


def failed_in_store(pool: PoolResource) -> dg.AutomationCondition[dg.AssetKey]:
    """The last run of the partition ended with an error of its own.

    Dagster calls every partition of a failed run failed, also those that were only skipped
    because another one failed; the store knows better.
    """

    class FailedInStore(dg.AutomationCondition[dg.AssetKey]):
        @property
        def name(self) -> str:
            return "failed in the store"

        def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult:
            candidates = context.candidate_subset
            keys = [Key(key) for key in candidates.expensively_compute_partition_keys()]
            if not keys:
                return dg.AutomationResult(context, true_subset=candidates)
            catalog, asset = pool.open().catalog, context.key.to_user_string()
            catalog.preload(asset, keys)
            failed = {key for key in keys if catalog.failure(asset, key)}
            failing = candidates.compute_intersection_with_partition_keys(failed)
            return dg.AutomationResult(context, true_subset=failing)

    return FailedInStore()


def fill_missing(pool: PoolResource) -> When:
    """Ask for a partition that is missing and can be made.

    One with an error of its own waits for a person or the nightly catch-up.
    """
    return (
        When.missing()
        & ~When.in_progress()
        & ~JUST_ENDED
        & ~When.any_deps_missing()
        & (~When.execution_failed() | (TRY_AGAIN & ~failed_in_store(pool)))
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
        | (When.execution_failed() & TRY_AGAIN)
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
    due = moved.since(When.newly_requested() | When.newly_updated())
    return (due & ~When.in_progress() & ~JUST_ENDED).with_label(f"with {upstream}")


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
    return refresh(ignore=dg.AssetSelection.assets(*whole) if whole else None)


def with_conditions(pool: PoolResource) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """What gives every asset of the table its condition."""

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        record = ASSETS[spec.key.to_user_string()]
        return spec.replace_attributes(automation_condition=condition(record, pool))

    return conditioned
