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
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
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
from clip_assets.layout import WHOLE, Key, PartitionKey
from clip_assets.masking import masked
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.storage import full_disk, locks, tables
from clip_assets.storage.manifests import (
    UNFINISHED,
    Failure,
    Manifest,
    Output,
    Report,
    named,
)
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

OWN_PROCESS = Path("/proc/self")
"""What the kernel tells about this process; Linux only."""


class StageRun:
    """One run of a stage over one key of its asset."""

    def __init__(self, pool: Pool, asset: Asset, key: Key) -> None:
        self.pool = pool
        self.asset = asset
        self.key = key
        self.work_folder = layout.work(asset.name, key)
        self._outputs: dict[str, Output] = {}

    @property
    def store(self) -> Store:
        """The pool's files."""
        return self.pool.store

    @property
    def name(self) -> str:
        """Asset and key, for people."""
        return named(self.asset.name, self.key)

    @property
    def partition(self) -> PartitionKey:
        """The partition's key; only partitioned stages ask for it."""
        assert self.key != WHOLE, f"{self.asset.name} is not partitioned"
        return self.key

    @contextmanager
    def publish(self, path: str) -> Generator[Path]:
        """Publish an output of this run, see ``Store.publish``.

        A table without rows is none where its kind says so: many readers of a folder fail at one.
        That there are no rows is told by the manifest.
        """
        onlooker = self.pool.onlooker
        with ExitStack() as stack:
            with self.store.publish(path) as part:
                yield part
                if layout.needs_rows(path) and not tables.has_rows(part):
                    part.unlink()
                    return
                output = output_of(part, path)
                # An open file is there when its name is gone, as after an upload.
                is_wanted = onlooker is not None and onlooker.kind.holds(path)
                file = stack.enter_context(part.open("rb")) if is_wanted else None
            self._outputs[path] = output
            if onlooker is not None and file is not None:
                stack.pop_all()
                onlooker.take(self.key, output, file)

    def publish_picture(self, name: str, content: bytes) -> str:
        """Publish a picture for people and return its path."""
        path = layout.picture(self.asset.name, self.key, name)
        with self.publish(path) as part:
            part.write_bytes(content)
        return path

    def adopt(self, path: str) -> None:
        """Count a file that an earlier, killed run published as an output of this one."""
        with self.store.local(path) as file:
            self._outputs[path] = output_of(file, path)

    def keep(self, output: Output) -> None:
        """Count an output of the last run, unchanged, as an output of this one."""
        self._outputs[output.path] = output

    @property
    def to_mend(self) -> frozenset[str]:
        """Files that it makes again, exactly; empty where it makes everything, and a manifest."""
        return frozenset()

    def output(self, path: str) -> Output:
        """A file of this run, or else of the last one's manifest."""
        if path in self._outputs:
            return self._outputs[path]
        before = self.pool.catalog.require(self.asset.name, self.key)
        return next(output for output in before.outputs if output.path == path)

    @property
    def outputs(self) -> list[Output]:
        """Every output so far, in order of publication."""
        return list(self._outputs.values())

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far the stage is; people read it in Dagster's log or on a terminal."""
        logger.info("%s: %s of %s %s", self.name, f"{done:,}", f"{total:,}", unit)


def materialize(
    pool: Pool,
    asset: Asset,
    key: Key,
    work: Callable[[StageRun], Report],
    *,
    again: bool = False,
) -> Outcome:
    """Bring one key of an asset up to date.

    Args:
        pool: the pool; its catalog gets the new manifest.
        asset: which asset, made by which version of its code.
        key: which partition or subset, ``WHOLE`` for an asset that is made once.
        work: makes the outputs; it may find finished chunks of a killed run and go on.
        again: run it also when inputs and code are those of the last run.

    Returns:
        The manifest; ``reused`` when inputs and code are those of the last run.

    Raises:
        BusyError: another process is writing the same key.
        ClipAssetsError: the stage's own; it is also recorded in the store.
    """
    if pool.to_mend is not None:
        from clip_assets.pool.mending import mended

        return mended(pool, asset, key, work, pool.to_mend)
    catalog = pool.catalog
    inputs = asset.made_from(pool, key)
    if not again and (finished := _finished(pool, asset, key, inputs)):
        # A failure with other inputs, since taken back, no longer matters.
        catalog.forget_failure(asset.name, key)
        return finished
    has_room = full_disk.told(named(asset.name, key), pool.store.folders)
    with has_room, locks.exclusive(pool.store, f"{asset.name}/{key or 'pool'}"):
        # Another process may have made it since this one looked.
        before = catalog.renewed(asset.name, key)
        if not again and (finished := _finished(pool, asset, key, inputs)):
            return finished
        if before:
            # Files are replaced one by one; until the last one is, the old manifest must not
            # count, not even for somebody who goes back to the old inputs.
            catalog.invalidate(before, UNFINISHED)
        try:
            with recorded(pool, asset, key):
                manifest = _run(StageRun(pool, asset, key), inputs, work, before)
                _retire(pool.store, before, manifest)
                catalog.put(manifest)
        except BaseException:
            # What is there now is unfinished, here too.
            catalog.renewed(asset.name, key)
            raise
        pool.store.delete(layout.work(asset.name, key))
        return Outcome(manifest, reused=False)


@contextmanager
def recorded(pool: Pool, asset: Asset, key: Key) -> Generator[None]:
    """Record in the store what stops the block, unless it is another one's fault or turn."""
    try:
        yield
    except (BusyError, NotReadyError, MissingArtifactError):
        raise
    except Exception as error:
        failure = Failure(type(error).__name__, masked(str(error)), _now())
        # The fault may be the store itself; the first error is the one to tell.
        with suppress(OSError, ClipAssetsError):
            pool.catalog.put_failure(asset.name, key, failure)
        raise


def current(pool: Pool, asset: Asset, key: Key) -> Outcome | None:
    """What the stage made, if it was made from today's inputs by today's code; else None."""
    return _finished(pool, asset, key, asset.made_from(pool, key))


def _finished(pool: Pool, asset: Asset, key: Key, inputs: Inputs) -> Outcome | None:
    manifest = pool.catalog.get(asset.name, key)
    if manifest and asset.is_current(manifest, inputs):
        return Outcome(manifest, reused=True)
    return None


def _run(
    run: StageRun, inputs: Inputs, work: Callable[[StageRun], Report], before: Manifest | None
) -> Manifest:
    start = time.monotonic()
    _reset_peak_memory()
    report = work(run)
    _check_counts(run, report)
    return Manifest(
        asset=run.asset.name,
        key=run.key,
        code_version=run.asset.version,
        inputs=inputs,
        outputs=_in_order(run.outputs, before),
        report=report,
        seconds=round(time.monotonic() - start, 3),
        peak_memory_bytes=_peak_memory_bytes(),
        finished_at=_now(),
    )


def _in_order(outputs: list[Output], before: Manifest | None) -> list[Output]:
    """Outputs in the last manifest's order, then new ones by path: what reads them keeps its own.

    Shards are finished in an order of chance, which would be that of the rows made from them.
    """
    places = {o.path: place for place, o in enumerate(before.outputs)} if before else {}
    return sorted(outputs, key=lambda output: (places.get(output.path, len(places)), output.path))


def _check_counts(run: StageRun, report: Report) -> None:
    if not report.balances:
        raise CheckFailedError(
            run.name,
            f"{report.rows_out:,} rows out and {report.dropped} dropped of {report.rows_in:,} in",
            "every row in to be a row out or dropped for a reason",
            "This is a defect of the stage; please report it with the partition's plan.",
        )
    upstream = run.asset.rows_from
    if not upstream:
        return
    passed_on = run.pool.catalog.require(upstream, run.key).report.rows_out
    if report.rows_in != passed_on:
        raise CheckFailedError(
            run.name,
            f"{report.rows_in:,} rows in",
            f"the {passed_on:,} rows that {upstream} passed on",
            f"A file of {upstream} changed since; materialize it again.",
        )


def _retire(store: Store, before: Manifest | None, now: Manifest) -> None:
    """Remove files that the last run published and this one did not."""
    kept = {output.path for output in now.outputs}
    for output in before.outputs if before else []:
        # Versions of the index are immutable; retention removes them.
        if output.path not in kept and not output.path.startswith(f"{layout.VERSIONS}/"):
            store.delete(output.path)


def output_of(file: Path, path: str) -> Output:
    """A file as a manifest names it."""
    with file.open("rb") as content:
        return Output(path, file.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())


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
