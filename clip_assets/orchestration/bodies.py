"""How an asset body goes through the keys of a run, and reports each one on its own.

One run may cover many keys: its start-up is paid once. Every key that succeeds is recorded with
its own metadata even when others fail, and a failed one never hides that.
"""

import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
"""Metadata of a failed step: by asset and key, class and message of what stopped it."""

WAIT_S = 30
MAX_WAITS = 20
"""An automatic run waits this often for an earlier partition that another run is making."""

SHOWN = 20
"""Keys that a line of the log names."""


@dataclass(frozen=True, slots=True)
class KeysTried:
    """What became of the keys of a run.

    Args:
        record: the asset.
        done: keys that were made or had been made.
        failed: what stopped each of the others.
    """

    record: Asset
    done: dict[Key, Done]
    failed: dict[Key, Exception]


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
    begin(context)
    yield from told(context, pool, tried(context, pool, record, make or record.make))


def begin(context: dg.AssetExecutionContext) -> None:
    """To be called first in every body: what this run's death would leave is known and found."""
    processes.follow_parent()
    orphans.claim(context.instance, context.run)
    orphans.bury(context.instance)


def tried(
    context: dg.AssetExecutionContext,
    pool: Pool,
    record: Asset,
    make: Make,
    *,
    without: Collection[Key] = (),
) -> KeysTried:
    """Make the keys of a run, each whatever becomes of the others.

    Args:
        context: of the run.
        pool: the pool.
        record: the asset.
        make: makes one key.
        without: keys that lack their input.
    """
    done: dict[Key, Done] = {}
    failed: dict[Key, Exception] = {}
    for key in _keys(context, pool, record):
        if key in without:
            continue
        try:
            require(pool, record.axis, key)
            outcome = make(pool, key)
            done[key] = Done(outcome.manifest, as_metadata(pool.store, outcome))
        except Exception as error:  # one key's fault, whatever it is, is its own
            text = masked(traceback.format_exc())
            context.log.error(f"{record.name} {key}".strip() + f"\n\n{text}")  # noqa: TRY400
            failed[key] = _bare(error)
    return KeysTried(record, done, failed)


def told(context: dg.AssetExecutionContext, pool: Pool, *assets: KeysTried) -> Iterator[Event]:
    """Record what became of every key of a step's assets.

    Raises:
        dagster.Failure: at least one key failed; the others are recorded.
        dagster.RetryRequested: an automatic run came before an earlier partition's.
    """
    failed = [asset for asset in assets if asset.failed]
    for asset in assets:
        yield from _recorded(context, asset, is_whole=not failed)
        yield from verdicts(context, pool, asset.record, asset.done, asset.failed)
    if failed:
        raise _failure(context, pool, failed)


def _recorded(
    context: dg.AssetExecutionContext, asset: KeysTried, *, is_whole: bool
) -> Iterator[Event]:
    """Materializations of an asset; ``is_whole``: nothing of the step failed."""
    is_filling = fills_missing() and asset.record.axis in AXES
    name = dg.AssetKey(asset.record.name)
    if is_filling or not is_whole:
        for key, made_key in asset.done.items():
            yield dg.AssetMaterialization(name, partition=key or None, metadata=made_key.metadata)
    if is_filling and is_whole:
        # Without a result of its own, Dagster would skip the assets downstream.
        filled = {"filled_partitions": list(asset.done) or "none"}
        yield dg.MaterializeResult(asset_key=name, metadata=filled)
    elif is_whole:
        yield _result(context, name, asset.done)


def _result(
    context: dg.AssetExecutionContext, name: dg.AssetKey, done: Mapping[Key, Done]
) -> dg.MaterializeResult:
    """The result of a run without a failure."""
    metadata: dict[str, Any] | None = None
    for key, made_key in done.items():
        if key == WHOLE:
            metadata = made_key.metadata
        else:
            context.add_asset_metadata(made_key.metadata, asset_key=name, partition_key=key)
    # One result has one data version, so only a run over one key can tell its own.
    versions = [dg.DataVersion(made_key.manifest.digest()) for made_key in done.values()]
    return dg.MaterializeResult(
        asset_key=name,
        metadata=metadata,
        data_version=versions[0] if len(versions) == 1 else None,
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
    recorded = context.instance.get_materialized_partitions(dg.AssetKey(record.name))
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
    context: dg.AssetExecutionContext, pool: Pool, assets: Sequence[KeysTried]
) -> Exception:
    every = [error for asset in assets for error in asset.failed.values()]
    is_automatic = bool(AUTOMATIC & {*context.run.tags})
    if is_automatic and all(isinstance(error, NotReadyError) for error in every):
        return dg.RetryRequested(max_retries=MAX_WAITS, seconds_to_wait=WAIT_S)
    by_itself = [line for asset in assets for line in _by_itself(context, pool, asset)]
    errors = {
        asset.record.name: {
            key: [type(error).__name__, masked(str(error))] for key, error in asset.failed.items()
        }
        for asset in assets
    }
    return dg.Failure(
        "\n".join(_sentence(asset) for asset in assets),
        metadata={
            "by_itself": "\n".join(by_itself[:SHOWN]) or "not asked for again",
            ERRORS: dg.MetadataValue.json(errors),
        },
        # Our own errors are permanent; everything else may heal.
        allow_retries=not all(isinstance(error, ClipAssetsError) for error in every),
    )


def _by_itself(context: dg.AssetExecutionContext, pool: Pool, asset: KeysTried) -> Iterator[str]:
    """When each failed key is asked for again."""
    record = asset.record
    known = {*pool.keys(record.axis)}
    tries = tries_of(context.instance, record, [key for key in asset.failed if key in known])
    for key, of_key in tries.items():
        yield f"{key or record.name}: {of_key.as_text()}"


def _sentence(asset: KeysTried) -> str:
    record, failed = asset.record, asset.failed
    first = masked(str(next(iter(failed.values()))))
    if record.axis not in AXES:
        return f"{record.name}: {first}"
    return (
        f"{record.name}: {len(failed)} of {len(asset.done) + len(failed)} {record.axis}s failed: "
        f"{', '.join(failed)}. First: {first}"
    )
