"""How an asset body goes through the keys of a run, and reports each one on its own.

One run may cover many keys: its start-up is paid once. Every key that succeeds is recorded with
its own metadata even when others fail, and a failed one never hides that.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from clip_assets import processes
from clip_assets.errors import (
    ClipAssetsError,
    NotReadyError,
)
from clip_assets.layout import WHOLE, Key
from clip_assets.masking import masked
from clip_assets.orchestration import orphans
from clip_assets.orchestration.checks import Done, verdicts
from clip_assets.orchestration.fill import fills_missing
from clip_assets.orchestration.partitions import AXES, require, sync
from clip_assets.orchestration.reports import as_metadata
from clip_assets.orchestration.tries import tries_of
from clip_assets.pool.asset import Asset, Outcome
from clip_assets.pool.pool import Pool

Event = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.Output
Make = Callable[[Pool, Key], Outcome]

AUTOMATIC = {
    "dagster/backfill",
    "dagster/from_automation_condition",
    "dagster/schedule_name",
}
"""Tags of runs that nobody waits for."""

ERRORS = "errors"
"""Metadata of a failed step: by key, class and message of what stopped it."""

WAIT_S = 30
MAX_WAITS = 20
"""An automatic run waits this often for an earlier partition that another run is making."""

SHOWN = 20
"""Keys that a line of the log names."""


def made(
    context: dg.AssetExecutionContext, pool: Pool, record: Asset, make: Make | None = None
) -> Iterator[Event]:
    """Make the keys of a run.

    Args:
        context: of the run.
        pool: the pool.
        record: the asset.
        make: instead of the record's own.

    Raises:
        dagster.Failure: at least one key failed; the others are recorded.
        dagster.RetryRequested: an automatic run came before an earlier partition's.
    """
    processes.follow_parent()
    orphans.claim(context.instance, context.run)
    orphans.bury(context.instance)
    done: dict[Key, Done] = {}
    failed: dict[Key, Exception] = {}
    for key in _keys(context, pool, record):
        try:
            require(pool, record.axis, key)
            outcome = (make or record.make)(pool, key)
            done[key] = Done(outcome.manifest, as_metadata(pool.store, outcome))
        except Exception as error:  # one key's fault, whatever it is, is its own
            told = masked(traceback.format_exc())
            context.log.error(f"{record.name} {key}".strip() + f"\n\n{told}")  # noqa: TRY400
            failed[key] = _bare(error)
    is_filling = fills_missing() and record.axis in AXES
    if failed or is_filling:
        for key, made_key in done.items():
            yield dg.AssetMaterialization(
                context.asset_key, partition=key or None, metadata=made_key.metadata
            )
    if is_filling and not failed:
        # Without a result of its own, Dagster would skip the assets downstream.
        yield dg.MaterializeResult(metadata={"filled_partitions": list(done) or "none"})
    elif not failed:
        yield _result(context, done)
    yield from verdicts(context, pool, record, done, failed)
    if failed:
        raise _failure(context, pool, record, len(done), failed)


def _result(context: dg.AssetExecutionContext, done: Mapping[Key, Done]) -> dg.MaterializeResult:
    """The result of a run without a failure."""
    metadata: dict[str, Any] | None = None
    for key, made_key in done.items():
        if key == WHOLE:
            metadata = made_key.metadata
        else:
            context.add_asset_metadata(made_key.metadata, partition_key=key)
    # One result has one data version, so only a run over one key can tell its own.
    versions = [dg.DataVersion(made_key.manifest.digest()) for made_key in done.values()]
    return dg.MaterializeResult(
        metadata=metadata, data_version=versions[0] if len(versions) == 1 else None
    )


def _bare(error: Exception) -> Exception:
    """The error without the frames that keep files and databases open."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _keys(context: dg.AssetExecutionContext, pool: Pool, record: Asset) -> list[Key]:
    if record.axis not in AXES:
        return [WHOLE]
    if not fills_missing():
        return [Key(key) for key in context.partition_keys]
    sync(context.instance, pool)
    every = pool.keys(record.axis)
    recorded = context.instance.get_materialized_partitions(context.asset_key)
    states = record.states(pool, every)
    keys = [key for key in every if states[key] != "done" or key not in recorded]
    because = {
        key: states[key] if states[key] != "done" else "done, but unknown to Dagster"
        for key in keys
    }
    named = ", ".join(f"{key} ({why})" for key, why in list(because.items())[:SHOWN])
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    count = f"{len(keys)} of {len(every)} {record.axis}s to make"
    context.log.info(f"{record.name}: {count}: {named or 'none'}{more}")
    return keys


def _failure(
    context: dg.AssetExecutionContext,
    pool: Pool,
    record: Asset,
    succeeded: int,
    failed: Mapping[Key, Exception],
) -> Exception:
    is_automatic = bool(AUTOMATIC & {*context.run.tags})
    if is_automatic and all(isinstance(error, NotReadyError) for error in failed.values()):
        return dg.RetryRequested(max_retries=MAX_WAITS, seconds_to_wait=WAIT_S)
    known = {*pool.keys(record.axis)}
    tried = tries_of(context.instance, record, [key for key in failed if key in known])
    by_itself = [f"{key or record.name}: {tries.as_text()}" for key, tries in tried.items()]
    first = masked(str(next(iter(failed.values()))))
    errors = {key: [type(error).__name__, masked(str(error))] for key, error in failed.items()}
    text = f"{record.name}: {first}"
    if record.axis in AXES:
        text = (
            f"{record.name}: {len(failed)} of {succeeded + len(failed)} {record.axis}s failed: "
            f"{', '.join(failed)}. First: {first}"
        )
    return dg.Failure(
        text,
        metadata={
            "by_itself": "\n".join(by_itself[:SHOWN]) or "not asked for again",
            ERRORS: dg.MetadataValue.json({"asset": record.name, "by_key": errors}),
        },
        # Our own errors are permanent; everything else may heal.
        allow_retries=not all(isinstance(error, ClipAssetsError) for error in failed.values()),
    )
