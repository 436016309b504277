"""How an asset body goes through partitions, and reports each one on its own.

One run may cover many partitions: its start-up is paid once. Every partition that succeeds
is recorded with its own metadata even when others fail, and a failed one never hides that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from clip_assets import planning
from clip_assets.errors import (
    CheckFailedError,
    ClipAssetsError,
    NotReadyError,
    UnsoundVectorsError,
)
from clip_assets.layout import PartitionKey
from clip_assets.orchestration.partitions import registered, sync
from clip_assets.orchestration.reports import as_metadata
from clip_assets.pool.stages import Outcome
from clip_assets.storage.manifests import Catalog, Manifest
from clip_assets.storage.store import Store

Event = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckResult

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

WAIT_S = 30
MAX_WAITS = 20
"""An automatic run waits this often for an earlier partition that another run is making."""


@dataclass(frozen=True, slots=True)
class Done:
    """A partition that succeeded, and what to tell of it."""

    manifest: Manifest
    metadata: dict[str, Any]


def counts_check(asset: str) -> dg.AssetCheckSpec:
    """The blocking check that rows add up."""
    return dg.AssetCheckSpec(
        COUNTS,
        asset=dg.AssetKey(asset.split("/")),
        blocking=True,
        description="Rows in are the upstream's rows out, and equal rows out plus dropped rows.",
    )


def vectors_check(asset: str) -> dg.AssetCheckSpec:
    """The blocking check of embeddings, which keeps unsound ones out of every index."""
    return dg.AssetCheckSpec(
        VECTORS,
        asset=dg.AssetKey(asset.split("/")),
        blocking=True,
        description="Vectors have the length 1, none is NaN, and the model tells rows apart.",
    )


def over_partitions(
    context: dg.AssetExecutionContext,
    catalog: Catalog,
    work: Callable[[PartitionKey], Outcome],
) -> Iterator[Event]:
    """Work through the partitions of a run.

    Raises:
        dagster.Failure: at least one partition failed; the others are recorded.
        dagster.RetryRequested: an automatic run came before an earlier partition's.
    """
    asset = context.asset_key.to_user_string()
    is_partitioned = context.assets_def.partitions_def is not None
    done: dict[PartitionKey, Done] = {}
    failed: dict[PartitionKey, Exception] = {}
    for key in _keys(context, catalog.store):
        try:
            outcome = work(key)
            done[key] = Done(outcome.manifest, as_metadata(catalog.store, outcome))
        except Exception as error:  # one partition's fault, whatever it is, is its own
            context.log.exception(f"{asset} {key}")
            failed[key] = _bare(error)
    verdicts = _verdicts(context, done, failed)
    if failed or not is_partitioned:
        for key, made in done.items():
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=made.metadata)
    if failed:
        yield from verdicts
        raise _failure(context, asset, len(done), failed)
    if not is_partitioned:
        # Without a result of its own, Dagster would skip the assets downstream.
        filled = {"filled_partitions": list(done) or "none"}
        yield dg.MaterializeResult(check_results=verdicts, metadata=filled)
        return
    for key, made in done.items():
        context.add_asset_metadata(made.metadata, partition_key=key)
    yield dg.MaterializeResult(check_results=verdicts, data_version=_data_version(done))


def over_pool(catalog: Catalog, work: Callable[[list[PartitionKey]], Outcome]) -> Iterator[Event]:
    """Make an unpartitioned asset from the partitions of the pool.

    Raises:
        dagster.Failure: rows do not add up; the check says so too.
    """
    try:
        outcome = work(planning.partitions_of(catalog))
    except CheckFailedError as error:
        yield dg.AssetCheckResult(check_name=COUNTS, passed=False, description=str(error))
        raise dg.Failure(str(error), allow_retries=False) from error
    manifest = outcome.manifest
    rows = {"rows_in": manifest.report.rows_in, "rows_out": manifest.report.rows_out}
    yield dg.MaterializeResult(
        metadata=as_metadata(catalog.store, outcome),
        data_version=dg.DataVersion(manifest.digest()),
        check_results=[dg.AssetCheckResult(check_name=COUNTS, passed=True, metadata=rows)],
    )


def _verdicts(
    context: dg.AssetExecutionContext,
    done: Mapping[PartitionKey, Done],
    failed: Mapping[PartitionKey, Exception],
) -> list[dg.AssetCheckResult]:
    """What every check of the asset says of this run."""
    counts = {
        "partitions": len(done),
        "rows_in": sum(made.manifest.report.rows_in for made in done.values()),
    }
    found = {
        VECTORS if isinstance(error, UnsoundVectorsError) else COUNTS: str(error)
        for error in failed.values()
        if isinstance(error, CheckFailedError)
    }
    return [
        dg.AssetCheckResult(
            check_name=spec.name,
            passed=spec.name not in found,
            description=found.get(spec.name),
            metadata=counts,
        )
        for spec in context.assets_def.check_specs
    ]


def _bare(error: Exception) -> Exception:
    """The error without the frames that keep files and databases open."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _keys(context: dg.AssetExecutionContext, store: Store) -> list[PartitionKey]:
    if context.assets_def.partitions_def is not None:
        return [PartitionKey(key) for key in context.partition_keys]
    # Declared without partitions: every one that Dagster has not seen, see `fills_missing`.
    sync(context.instance, store)
    seen = context.instance.get_materialized_partitions(context.asset_key)
    return [key for key in registered(context.instance) if key not in seen]


def _data_version(done: Mapping[PartitionKey, Done]) -> dg.DataVersion | None:
    # One result has one data version, so only a run over one partition can tell its own.
    if len(done) != 1:
        return None
    (made,) = done.values()
    return dg.DataVersion(made.manifest.digest())


def _failure(
    context: dg.AssetExecutionContext,
    asset: str,
    succeeded: int,
    failed: Mapping[PartitionKey, Exception],
) -> Exception:
    automatic = bool(
        {"dagster/backfill", "dagster/from_automation_condition"} & {*context.run.tags}
    )
    if automatic and all(isinstance(error, NotReadyError) for error in failed.values()):
        return dg.RetryRequested(max_retries=MAX_WAITS, seconds_to_wait=WAIT_S)
    first = next(iter(failed.values()))
    listed: dict[str, Any] = {key: f"{type(e).__name__}: {e}" for key, e in failed.items()}
    return dg.Failure(
        f"{asset}: {len(failed)} of {succeeded + len(failed)} partitions failed: "
        f"{', '.join(failed)}. First: {first}",
        metadata=listed,
        # Our own errors are permanent; everything else may heal.
        allow_retries=not all(isinstance(error, ClipAssetsError) for error in failed.values()),
    )
