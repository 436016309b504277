"""What runs without a hand: new files, fresh indices, and catching up.

The sensor only adds partitions; what is missing is asked for by level-triggered conditions,
so an update between two looks of the daemon is not lost. The stock conditions ``eager`` and
``on_cron`` lose updates or wait for ever behind one failed partition.
"""

import json
from collections.abc import Iterator

import dagster as dg
from dagster import AutomationCondition as When

from clip_assets.layout import PartitionKey
from clip_assets.orchestration import requests as planning
from clip_assets.orchestration.partitions import POOL, unregistered
from clip_assets.orchestration.resources import Pool
from clip_assets.orchestration.variables import whole_number
from clip_assets.partitions import ledger
from clip_assets.partitions.listing import list_sources
from clip_assets.storage.manifests import read_failure

LOOK_EVERY_S = whole_number("CLIP_ASSETS_LOOK_EVERY_S", 30)


class FailedInStore(dg.AutomationCondition[dg.AssetKey]):
    """The last run of the partition ended with an error of its own.

    Dagster calls every partition of a failed run failed, also those that were only skipped
    because another one failed; the store knows better.
    """

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "failed in the store"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult:
        """Look at the failures that stages recorded."""
        candidates = context.candidate_subset
        store = Pool().store()
        asset = context.key.to_user_string()
        keys = {
            key
            for key in candidates.expensively_compute_partition_keys()
            if read_failure(store, asset, PartitionKey(key))
        }
        failed = candidates.compute_intersection_with_partition_keys(keys)
        return dg.AutomationResult(context, true_subset=failed)


TRY_AGAIN = When.cron_tick_passed("*/10 * * * *")
"""When work that a crash or another partition's failure prevented is asked for again."""

JUST_ENDED = (~When.in_progress()).newly_true() & ~When.newly_missing()
"""A run of it ended since the last look. Dagster reads events before it reads which runs go on, so
what that run made may not be seen before the next look. (A new partition is no ended run.)"""

FILL_MISSING = (
    When.missing()
    & ~When.in_progress()
    & ~JUST_ENDED
    & ~When.any_deps_missing()
    & (~When.execution_failed() | (TRY_AGAIN & ~FailedInStore()))
).with_label("fill missing")
"""Ask for a partition that is missing and can be made. One with an error of its own waits for
a person or the nightly catch-up."""

REENCODE = (
    FILL_MISSING
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


@dg.sensor(
    minimum_interval_seconds=LOOK_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Plans a partition for every new file of sources.watch and adds it.",
)
def new_sources(context: dg.SensorEvaluationContext, pool: Pool) -> dg.SensorResult:
    """Plan new files and make their partitions known; conditions do the rest.

    A file is planned when two looks in a row find it the same: one that is still being
    copied is left alone.
    """
    watched = pool.settings().sources
    store = pool.store()
    found = list_sources(watched.watch) if watched.watch else []
    planned = {part.uri for plan in ledger.plans(store) for part in plan.ranges}
    before: dict[str, str] = json.loads(context.cursor or "{}")
    at_rest = [file for file in found if file.uri in planned or before.get(file.uri) == file.etag]
    if at_rest:
        added = ledger.add_sources(store, watched.watch, watched, found=at_rest)
        for uri in added.changed:
            context.log.warning(
                f"{uri} changed since it was planned; see clip-assets add --refresh"
            )
    moving = {file.uri: file.etag for file in found if file not in set(at_rest)}
    new = unregistered(context.instance, store)
    requests = [POOL.build_add_request(new)] if new else []
    return dg.SensorResult(dynamic_partitions_requests=requests, cursor=json.dumps(moving))


@dg.schedule(
    cron_schedule="0 3 * * *",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: whatever is missing, stale or failed, a run for each range.",
)
def catch_up(context: dg.ScheduleEvaluationContext, pool: Pool) -> Iterator[dg.RunRequest]:
    """Request what the day left behind, failed partitions once more too."""
    store = pool.store()
    new = unregistered(context.instance, store)
    if new:
        context.instance.add_dynamic_partitions(str(POOL.name), new)
    yield from planning.run_requests(pool)


AUTOMATION = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=LOOK_EVERY_S,
    use_user_code_server=True,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
