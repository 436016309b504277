"""How an asset body goes through the keys of a run, and reports each one on its own.

One run may cover many keys: its start-up is paid once. Every key that succeeds is recorded with
its own metadata even when others fail, and a failed one never hides that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from clip_assets.errors import (
    CheckFailedError,
    ClipAssetsError,
    NotReadyError,
    UnsoundVectorsError,
)
from clip_assets.layout import WHOLE, Key
from clip_assets.orchestration.fill import fills_missing
from clip_assets.orchestration.partitions import AXES, sync
from clip_assets.orchestration.reports import as_metadata
from clip_assets.pool.asset import Asset, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Manifest

Event = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckResult
Make = Callable[[Pool, Key], Outcome]

COUNTS = "rows_add_up"
"""Check of every asset: rows in are the upstream's rows out, and rows out plus dropped."""

VECTORS = "vectors_are_sound"
"""Check of embeddings: unit rows, none NaN, not all alike."""

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


@dataclass(frozen=True, slots=True)
class Done:
    """A key that succeeded, and what to tell of it."""

    manifest: Manifest
    metadata: dict[str, Any]


def counts_check(record: Asset) -> dg.AssetCheckSpec:
    """The blocking check that rows add up."""
    text = "Rows in are the upstream's rows out, and equal rows out plus dropped rows."
    return _check(record, COUNTS, text)


def vectors_check(record: Asset) -> dg.AssetCheckSpec:
    """The blocking check of embeddings, which keeps unsound ones out of every index."""
    text = "Vectors have the length 1, none is NaN, and the model tells rows apart."
    return _check(record, VECTORS, text)


def _check(record: Asset, name: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name,
        asset=record.name,
        blocking=True,
        description=description,
        partitions_def=None if fills_missing() else AXES.get(record.axis),
    )


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
    done: dict[Key, Done] = {}
    failed: dict[Key, Exception] = {}
    for key in _keys(context, pool, record):
        try:
            outcome = (make or record.make)(pool, key)
            done[key] = Done(outcome.manifest, as_metadata(pool.store, outcome))
        except Exception as error:  # one key's fault, whatever it is, is its own
            context.log.exception(f"{record.name} {key}".strip())
            failed[key] = _bare(error)
    verdicts = _verdicts(context, record, done, failed)
    is_filling = fills_missing() and record.axis in AXES
    if failed or is_filling:
        for key, made_key in done.items():
            yield dg.AssetMaterialization(
                context.asset_key, partition=key or None, metadata=made_key.metadata
            )
    if failed:
        yield from verdicts
        raise _failure(context, record, len(done), failed)
    if is_filling:
        # Without a result of its own, Dagster would skip the assets downstream.
        filled = {"filled_partitions": list(done) or "none"}
        yield dg.MaterializeResult(check_results=verdicts, metadata=filled)
        return
    yield _result(context, done, verdicts)


def _result(
    context: dg.AssetExecutionContext,
    done: Mapping[Key, Done],
    verdicts: list[dg.AssetCheckResult],
) -> dg.MaterializeResult:
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
        metadata=metadata,
        check_results=verdicts,
        data_version=versions[0] if len(versions) == 1 else None,
    )


def _verdicts(
    context: dg.AssetExecutionContext,
    record: Asset,
    done: Mapping[Key, Done],
    failed: Mapping[Key, Exception],
) -> list[dg.AssetCheckResult]:
    """What every check of the asset says of this run; of each key on its own in the event log."""
    refused = {
        key: VECTORS if isinstance(error, UnsoundVectorsError) else COUNTS
        for key, error in failed.items()
        if isinstance(error, CheckFailedError)
    }
    verdicts: list[dg.AssetCheckResult] = []
    for spec in context.assets_def.check_specs:
        by_key = dict.fromkeys(done, True) | {
            key: False for key, check in refused.items() if check == spec.name
        }
        if record.axis in AXES and len(by_key) > 1:
            _log_each(context, spec, by_key)
        wrong = [str(failed[key]) for key, passed in by_key.items() if not passed]
        verdicts.append(
            dg.AssetCheckResult(
                check_name=spec.name,
                passed=not wrong,
                description=wrong[0] if wrong else None,
                metadata={
                    "partitions": len(done),
                    "rows_in": sum(made_key.manifest.report.rows_in for made_key in done.values()),
                },
            )
        )
    return verdicts


def _log_each(
    context: dg.AssetExecutionContext, spec: dg.AssetCheckSpec, by_key: Mapping[Key, bool]
) -> None:
    """One verdict for each key: a result of a run over many keys has one verdict for all."""
    for key, passed in by_key.items():
        verdict = dg.AssetCheckEvaluation(
            asset_key=spec.asset_key, check_name=spec.name, passed=passed, partition=key
        )
        # Dagster takes it, though its types name only the older events.
        context.op_execution_context.log_event(verdict)  # pyright: ignore[reportArgumentType]


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
    context.log.info(
        f"{record.name}: {len(keys)} of {len(every)} partitions to make: {named or 'none'}{more}"
    )
    return keys


def _failure(
    context: dg.AssetExecutionContext,
    record: Asset,
    succeeded: int,
    failed: Mapping[Key, Exception],
) -> Exception:
    is_automatic = bool(AUTOMATIC & {*context.run.tags})
    if is_automatic and all(isinstance(error, NotReadyError) for error in failed.values()):
        return dg.RetryRequested(max_retries=MAX_WAITS, seconds_to_wait=WAIT_S)
    first = next(iter(failed.values()))
    errors = {key: [type(error).__name__, str(error)] for key, error in failed.items()}
    text = f"{record.name}: {first}"
    if record.axis in AXES:
        text = (
            f"{record.name}: {len(failed)} of {succeeded + len(failed)} partitions failed: "
            f"{', '.join(failed)}. First: {first}"
        )
    return dg.Failure(
        text,
        metadata={ERRORS: dg.MetadataValue.json({"asset": record.name, "by_key": errors})},
        # Our own errors are permanent; everything else may heal.
        allow_retries=not all(isinstance(error, ClipAssetsError) for error in failed.values()),
    )
