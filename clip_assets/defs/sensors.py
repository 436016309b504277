"""What runs without a hand: new files, missing partitions, stale fan-ins, and catching up.

The sensor only adds keys; what is missing is asked for by the conditions of
``orchestration.automation``.
"""

import hashlib
import json
from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from clip_assets.graph import ASSETS
from clip_assets.masking import holds_secret, masked
from clip_assets.orchestration import orphans, tries
from clip_assets.orchestration.automation import LOOK_EVERY_S
from clip_assets.orchestration.bodies import SHOWN
from clip_assets.orchestration.partitions import AXES, sync, unknown, unregistered
from clip_assets.orchestration.requests import run_requests
from clip_assets.orchestration.resources import PoolResource
from clip_assets.partitions import ledger
from clip_assets.partitions.listing import list_sources
from clip_assets.pool.pool import Pool


@dg.sensor(
    minimum_interval_seconds=LOOK_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Plans a partition for every new file of sources.watch and adds it; adds every "
    "subset that the settings name.",
)
def new_sources(context: dg.SensorEvaluationContext, pool: PoolResource) -> dg.SensorResult:
    """Plan new files and make new keys known; conditions do the rest.

    A file is planned when two looks in a row find it the same: one that is still being
    copied is left alone.
    """
    orphans.bury(context.instance)
    seen = pool.open()
    watched = seen.settings.sources
    files = list_sources(watched.watch) if watched.watch else []
    planned = {source.uri for plan in seen.plans.values() for source in plan.ranges}
    before: dict[str, str] = json.loads(context.cursor or "{}")
    at_rest = [f for f in files if f.uri in planned or before.get(_unnamed(f.uri)) == f.etag]
    if at_rest:
        added = ledger.add_sources(seen.store, watched.watch, watched, files=at_rest)
        for uri in added.changed:
            context.log.warning(
                f"{masked(uri)} changed since it was planned; see clip-assets add --refresh"
            )
    moving = {_unnamed(file.uri): file.etag for file in files if file not in set(at_rest)}
    now = seen.renewed()
    requests = [
        partitions.build_add_request(new)
        for axis, partitions in AXES.items()
        if (new := unregistered(context.instance, now, axis))
    ]
    return dg.SensorResult(
        dynamic_partitions_requests=requests,
        cursor=json.dumps(moving),
        skip_reason=_told(context.instance, now),
    )


def _told(instance: dg.DagsterInstance, pool: Pool) -> str:
    """What a look has to say to people: keys that nobody can make, and those that fail."""
    lines = [
        f"Dagster has the {axis} {key!r}, which the pool does not have: it is left alone. "
        "Delete it in the UI."
        for axis in AXES
        for key in unknown(instance, pool, axis)
    ]
    lines += tries.told(instance, pool)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*lines[:SHOWN], *more]) or "Nothing new, and nothing failed."


def _unnamed(uri: str) -> str:
    """A file's url, or what stands for it where it holds a secret: cursors are in a database."""
    if not holds_secret(uri):
        return uri
    return f"{masked(uri)} {hashlib.sha256(uri.encode()).hexdigest()}"


@dg.schedule(
    cron_schedule="0 3 * * *",
    # A selection has partitions of one kind; Dagster's job of all assets has both axes.
    job_name=IMPLICIT_ASSET_JOB_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: whatever is missing or stale, a run for each range; what failed too "
    "often is left out.",
)
def catch_up(context: dg.ScheduleEvaluationContext, pool: PoolResource) -> Iterator[dg.RunRequest]:
    """Request what the day left behind, without what failed too often, see ``tries``."""
    seen = pool.open()
    sync(context.instance, seen)
    yield from run_requests(context.instance, seen)


AUTOMATION = dg.AutomationConditionSensorDefinition(
    "automation",
    # The pool may be a part of a project, whose other assets have their own.
    target=dg.AssetSelection.assets(*ASSETS),
    minimum_interval_seconds=LOOK_EVERY_S,
    use_user_code_server=True,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
