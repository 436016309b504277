"""How every stage runs: once at a time, skipped when current, done by its manifest alone.

A stage is a function from a ``StageRun`` to a ``Report``. ``materialize`` takes the lock,
compares inputs, runs the function, records every file that it published and writes the
manifest last. What a stage does belongs to its own package.
"""

import hashlib
import logging
import resource
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import (
    BusyError,
    CheckFailedError,
    ClipAssetsError,
    MissingArtifactError,
    NotReadyError,
)
from clip_assets.layout import PartitionKey
from clip_assets.storage import locks, manifests
from clip_assets.storage.manifests import Artifact, Catalog, Failure, Manifest, Report
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

OWN_PROCESS = Path("/proc/self")
"""What the kernel tells about this process; Linux only."""

UNFINISHED = "unfinished"
"""Code version of a manifest whose partition is being made again: it equals no stage's."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What makes an asset.

    Args:
        asset: the asset's name.
        version: raised when the same inputs would give other outputs.
        rows_from: the upstream asset whose rows out are this stage's rows in, partition by
            partition; empty where there is none. A difference stops the partition.
    """

    asset: str
    version: str
    rows_from: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished stage: its manifest, and whether it was already there."""

    manifest: Manifest
    reused: bool


class StageRun:
    """One run of a stage over one partition (or over the pool, with partition None)."""

    def __init__(self, store: Store, stage: Stage, partition: PartitionKey | None) -> None:
        self.store = store
        self.stage = stage
        self._partition = partition
        self.work_folder = layout.work(stage.asset, partition)
        self._artifacts: dict[str, Artifact] = {}

    @property
    def partition(self) -> PartitionKey:
        """The partition's key; only partitioned stages ask for it."""
        assert self._partition is not None, f"{self.stage.asset} is not partitioned"
        return self._partition

    @contextmanager
    def publish(self, path: str) -> Generator[Path]:
        """Publish an output of this run, see ``Store.publish``."""
        with self.store.publish(path) as part:
            yield part
            artifact = _artifact(part, path)
        self._artifacts[path] = artifact

    def publish_picture(self, name: str, content: bytes) -> str:
        """Publish a picture for people and return its path."""
        path = layout.picture(self.stage.asset, self._partition, name)
        with self.publish(path) as part:
            part.write_bytes(content)
        return path

    def adopt(self, path: str) -> None:
        """Count a file that an earlier, killed run published as an output of this one."""
        with self.store.local(path) as file:
            self._artifacts[path] = _artifact(file, path)

    def keep(self, artifact: Artifact) -> None:
        """Count an output of the last run, unchanged, as an output of this one."""
        self._artifacts[artifact.path] = artifact

    @property
    def artifacts(self) -> list[Artifact]:
        """Every output so far, in order of publication."""
        return list(self._artifacts.values())

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far the stage is; people read it in Dagster's log or on a terminal."""
        name = f"{self.stage.asset} {self._partition or ''}".strip()
        logger.info("%s: %s of %s %s", name, f"{done:,}", f"{total:,}", unit)


def materialize(
    catalog: Catalog,
    stage: Stage,
    partition: PartitionKey | None,
    inputs: Mapping[str, str],
    work: Callable[[StageRun], Report],
    *,
    again: bool = False,
) -> Outcome:
    """Bring one asset or partition up to date.

    Args:
        catalog: the pool's manifests; the new one is added.
        stage: which asset, made by which version of its code.
        partition: which partition, None for an unpartitioned asset.
        inputs: what it is made from: digests from the catalog, and settings.
        work: makes the outputs; it may find finished chunks of a killed run and go on.
        again: run it also when inputs and code are those of the last run.

    Returns:
        The manifest; ``reused`` when inputs and code are those of the last run.

    Raises:
        BusyError: another process is writing the same partition.
        ClipAssetsError: the stage's own; it is also recorded in the store.
    """
    store = catalog.store
    if not again and (finished := current(catalog, stage, partition, inputs)):
        # A failure with other inputs, since taken back, no longer matters.
        store.delete(layout.failure(stage.asset, partition))
        return finished
    with locks.exclusive(store, f"{stage.asset}/{partition or 'pool'}"):
        before = catalog.get(stage.asset, partition)
        if before:
            # Files are replaced one by one; until the last one is, the old manifest must not
            # count, not even for somebody who goes back to the old inputs.
            Catalog(store).put(replace(before, code_version=UNFINISHED))
        with recorded(catalog, stage, partition):
            manifest = _run(catalog, stage, partition, inputs, work)
            _retire(store, before, manifest)
            catalog.put(manifest)
        store.delete(layout.work(stage.asset, partition))
        return Outcome(manifest, reused=False)


@contextmanager
def recorded(catalog: Catalog, stage: Stage, partition: PartitionKey | None) -> Generator[None]:
    """Record in the store what stops the block, unless it is another one's fault or turn.

    ``materialize`` does so itself; this is for what a stage must know before it has its inputs.
    """
    try:
        yield
    except (BusyError, NotReadyError, MissingArtifactError):
        raise
    except Exception as error:
        failure = Failure(type(error).__name__, str(error), _now())
        # The fault may be the store itself; the first error is the one to tell.
        with suppress(OSError, ClipAssetsError):
            manifests.write_failure(catalog.store, stage.asset, partition, failure)
        raise


def current(
    catalog: Catalog, stage: Stage, partition: PartitionKey | None, inputs: Mapping[str, str]
) -> Outcome | None:
    """What the stage made, if it was made from these inputs by this code; else None."""
    manifest = catalog.get(stage.asset, partition)
    if manifest and (manifest.inputs, manifest.code_version) == (dict(inputs), stage.version):
        return Outcome(manifest, reused=True)
    return None


def _run(
    catalog: Catalog,
    stage: Stage,
    partition: PartitionKey | None,
    inputs: Mapping[str, str],
    work: Callable[[StageRun], Report],
) -> Manifest:
    run = StageRun(catalog.store, stage, partition)
    start = time.monotonic()
    _reset_peak_memory()
    report = work(run)
    _check_counts(catalog, stage, partition, report)
    return Manifest(
        asset=stage.asset,
        partition=partition,
        code_version=stage.version,
        inputs=dict(inputs),
        outputs=run.artifacts,
        report=report,
        seconds=round(time.monotonic() - start, 3),
        peak_memory_bytes=_peak_memory_bytes(),
        finished_at=_now(),
    )


def _check_counts(
    catalog: Catalog, stage: Stage, partition: PartitionKey | None, report: Report
) -> None:
    where = f"{stage.asset} {partition or ''}".strip()
    if not report.balances:
        raise CheckFailedError(
            where,
            f"{report.rows_out:,} rows out and {report.dropped} dropped of {report.rows_in:,} in",
            "every row in to be a row out or dropped for a reason",
            "This is a defect of the stage; please report it with the partition's plan.",
        )
    if not stage.rows_from:
        return
    passed_on = catalog.require(stage.rows_from, partition).report.rows_out
    if report.rows_in != passed_on:
        raise CheckFailedError(
            where,
            f"{report.rows_in:,} rows in",
            f"the {passed_on:,} rows that {stage.rows_from} passed on",
            f"A file of {stage.rows_from} changed since; materialize it again.",
        )


def _retire(store: Store, before: Manifest | None, now: Manifest) -> None:
    """Remove files that the last run published and this one did not."""
    kept = {output.path for output in now.outputs}
    for output in before.outputs if before else []:
        # Versions of the index are immutable; retention removes them.
        if output.path not in kept and not output.path.startswith(f"{layout.VERSIONS}/"):
            store.delete(output.path)


def _artifact(file: Path, path: str) -> Artifact:
    with file.open("rb") as content:
        return Artifact(
            path, file.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reset_peak_memory() -> None:
    # Linux forgets the peak when 5 is written here; elsewhere the process's peak is reported.
    with suppress(OSError):
        (OWN_PROCESS / "clear_refs").write_text("5")


def _peak_memory_bytes() -> int:
    with suppress(OSError):
        for line in (OWN_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
