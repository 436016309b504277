"""What the checks of an asset say of each key of a run.

A check that had nothing to look at has not passed: of a key without rows it warns, of a key that
was not made it fails, and of a run without keys it says nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)

from clip_assets.errors import (
    BusyError,
    CheckFailedError,
    LowRecallError,
    NotReadyError,
    UnsoundVectorsError,
)
from clip_assets.layout import WHOLE, Key
from clip_assets.masking import masked
from clip_assets.orchestration.fill import fills_missing
from clip_assets.orchestration.partitions import AXES
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Manifest

COUNTS = "rows_add_up"
"""Check of every asset: rows in are the upstream's rows out, and rows out plus dropped."""

VECTORS = "vectors_are_sound"
"""Check of embeddings: unit rows, none NaN, not all alike."""

IMAGES = "images_came"
"""Check of image shards: where there were urls, at least one gave an image."""

RECALL = "recall_holds"
"""Check of a merged index: captions find enough of what an exact search finds."""

OWN: dict[type[Exception], str] = {UnsoundVectorsError: VECTORS, LowRecallError: RECALL}
"""Checks that judge an error of their own; every other one is judged by that of counts."""

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True, slots=True)
class Done:
    """A key that succeeded, and what to tell of it."""

    manifest: Manifest
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of a key.

    Args:
        wrong: what it says against it, empty where it passed.
        severity: of that; a warning blocks nothing.
    """

    wrong: str
    severity: dg.AssetCheckSeverity = ERROR


PASSED = Verdict("")


def counts_check(record: Asset) -> dg.AssetCheckSpec:
    """The blocking check that rows add up."""
    text = "Rows in are the upstream's rows out, and equal rows out plus dropped rows."
    return _check(record, COUNTS, text)


def vectors_check(record: Asset) -> dg.AssetCheckSpec:
    """The blocking check of embeddings, which keeps unsound ones out of every index."""
    text = "Vectors have the length 1, none is NaN, and the model tells rows apart."
    return _check(record, VECTORS, text)


def recall_check(record: Asset) -> dg.AssetCheckSpec:
    """The blocking check of a merged index, which keeps one that finds too little unserved."""
    text = "Captions find as many of their ten nearest images as index.least_recall and "
    return _check(record, RECALL, f"{text}index.most_recall_lost ask for.")


def images_check(record: Asset) -> dg.AssetCheckSpec:
    """The check of image shards; it holds nothing up, as sources of dead urls exist."""
    text = "At least one url gave an image. None at all is more often a network than its urls."
    return _check(record, IMAGES, text, blocking=False)


def _check(
    record: Asset, name: str, description: str, *, blocking: bool = True
) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name,
        asset=record.name,
        blocking=blocking,
        description=f"{description} Without any rows it has nothing to look at, and warns.",
        partitions_def=None if fills_missing() else AXES.get(record.axis),
    )


def verdicts(
    context: dg.AssetExecutionContext,
    pool: Pool,
    record: Asset,
    done: Mapping[Key, Done],
    failed: Mapping[Key, Exception],
) -> Iterator[dg.AssetCheckEvaluation | dg.Output]:
    """What every check of the asset says of each key.

    Dagster's own results have one verdict for all keys of a run, without a key; of a run over
    many that would be one more, which belongs to none of them.
    """
    name = dg.AssetKey(record.name)
    known = {*pool.keys(record.axis)}
    # Another run is making the others, or will: their time to be judged comes.
    not_made = {
        key: error
        for key, error in failed.items()
        if key in known and not isinstance(error, NotReadyError | BusyError)
    }
    of_asset = [one for one in context.assets_def.check_specs if one.asset_key == name]
    for spec in of_asset:
        by_key = {key: _of_done(spec.name, made_key.manifest) for key, made_key in done.items()}
        by_key |= {key: _of_failed(spec.name, error) for key, error in not_made.items()}
        if fills_missing() and by_key and WHOLE not in by_key:
            # Here the check has no partitions, so the UI shows the verdict on all of them.
            by_key[WHOLE] = _worst([*by_key.values()])
        for key, verdict in sorted(by_key.items()):
            yield dg.AssetCheckEvaluation(
                spec.asset_key,
                spec.name,
                passed=verdict == PASSED,
                severity=verdict.severity,
                description=verdict.wrong or None,
                metadata={"rows_in": done[key].manifest.report.rows_in} if key in done else {},
                target_materialization_data=_target(context, name, key),
                blocking=spec.blocking,
                partition=key or None,
            )
        if not failed:
            # The output that steps downstream wait for.
            yield dg.Output(None, output_name=spec.get_python_identifier())


def _of_done(check: str, manifest: Manifest) -> Verdict:
    report = manifest.report
    if not (report.rows_out if check in OWN.values() else report.rows_in):
        return Verdict("There were no rows to look at.", WARN)
    if check != IMAGES or report.rows_out:
        return PASSED
    return Verdict(
        f"0 of {report.rows_in:,} urls gave an image ({dict(report.dropped)}). If the network was "
        "at fault, fetch them again with clip-assets run --retry-failed."
    )


def _of_failed(check: str, error: Exception) -> Verdict:
    judge = OWN.get(type(error), COUNTS)
    if isinstance(error, CheckFailedError) and check == judge:
        return Verdict(masked(str(error)))
    return Verdict(masked(f"It was not made, so there was nothing to look at. {error}"))


def _worst(given: list[Verdict]) -> Verdict:
    """A failure before a pass, and a pass before a warning that there was nothing to look at."""
    failed = [verdict for verdict in given if verdict.wrong and verdict.severity == ERROR]
    return (failed or [verdict for verdict in given if verdict == PASSED] or given)[0]


def _target(context: dg.AssetExecutionContext, name: dg.AssetKey, key: Key) -> Target | None:
    """The materialization that a verdict on a key is of: its last one."""
    of_key = dg.AssetRecordsFilter(name, asset_partitions=[key] if key else None)
    last = context.instance.fetch_materializations(of_key, limit=1).records
    if not last:
        return None
    one = last[0]
    return Target(storage_id=one.storage_id, run_id=one.run_id, timestamp=one.timestamp)
