"""``raw_pairs``: the planned source rows of a partition in canonical columns.

Also written are the rows that are no pairs, and the keys that deduplication compares.
"""

import hashlib
import json
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pairs import columns, direct, opening, reading
from clip_assets.pairs.outputs import NotCleanError, Outputs, PairRows
from clip_assets.pairs.staging import Staging
from clip_assets.partitions.ledger import SourceRange
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.settings import SourceSettings
from clip_assets.storage import sql
from clip_assets.storage.manifests import Report

MEMORY_BYTES = 1 << 30
"""Bound on DuckDB's memory; rows beyond it wait on disk. Python adds one batch of rows."""


def raw_pairs_inputs(pool: Pool, partition: Key) -> Inputs:
    """The plan and the settings that decide what is read, and how."""
    settings = pool.settings.sources
    named = [settings.columns, settings.duplicates]
    # Added where it is used, so that a pool of an earlier release is not read anew.
    chosen = json.dumps(
        [*named, *([settings.promoted] if settings.promoted else [])], sort_keys=True
    )
    return {
        "plan": pool.plan(partition).digest(),
        "settings": hashlib.sha256(chosen.encode()).hexdigest(),
    }


def raw_pairs(pool: Pool, partition: Key) -> Outcome:
    """Read a partition's source rows.

    Memory: ``MEMORY_BYTES`` and one batch, whatever the partition's size.

    Raises:
        MissingArtifactError: the partition was never planned.
        SourceMissingError: a planned file is gone.
        SourceChangedError: a planned file is another one.
        SourceFormatError: a file holds no urls, or not what its name says.
    """
    return materialize(pool, RAW_PAIRS, partition, _read_sources)


RAW_PAIRS = Asset(
    layout.RAW_PAIRS,
    "1",
    make=raw_pairs,
    inputs=raw_pairs_inputs,
    settings=("plan", "settings"),
)


def _read_sources(run: StageRun) -> Report:
    settings = run.pool.settings.sources
    ranges = run.pool.plan(run.partition).ranges
    for source in ranges:
        opening.verify(source)
    with sql.translated(", ".join(dict.fromkeys(source.uri for source in ranges[:3]))):
        return _read(run, settings, ranges)


def _read(run: StageRun, settings: SourceSettings, ranges: Sequence[SourceRange]) -> Report:
    understood = columns.understood(settings.columns)
    clean = direct.rows(ranges, settings, understood)
    if clean is not None:
        with suppress(NotCleanError), sql.connection(MEMORY_BYTES) as database:
            return _write(run, ranges, clean, Outputs(database))
    with _fetch_folder(run) as folder, sql.connection(MEMORY_BYTES) as database:
        outputs = Outputs(database)
        staging = Staging(database, settings, outputs.rejects)

        def progress(done: int) -> None:
            run.progress(done, len(ranges), "files")

        reading.append_all(staging, ranges, understood, folder, progress)
        return _write(run, ranges, staging.rows(), outputs, staging)


def _write(
    run: StageRun,
    ranges: Sequence[SourceRange],
    rows: PairRows,
    outputs: Outputs,
    staging: Staging | None = None,
) -> Report:
    """Publish the partition's files."""
    with run.publish(layout.raw(run.partition)) as part:
        outputs.write_rows(part, rows)
        for source in ranges:
            # A file that was written to while it was read is not the planned one either.
            opening.verify(source)
    with run.publish(layout.pair_keys(run.partition)) as part:
        outputs.write_keys(part)
    with run.publish(layout.rejects(run.partition)) as part:
        outputs.rejects.write(part, [source.uri for source in ranges])
    dropped = outputs.rejects.by_reason()
    return Report(
        rows_in=outputs.kept + sum(dropped.values()),
        rows_out=outputs.kept,
        dropped=dropped,
        figures={
            "files": len({source.uri for source in ranges}),
            "values_that_do_not_fit": outputs.misfits,
            "rows_repaired_to_utf8": staging.repaired if staging else 0,
            "columns_left_out": staging.left_out if staging else {},
            "further_columns": list(rows.extras),
        },
    )


@contextmanager
def _fetch_folder(run: StageRun) -> Generator[Path]:
    """Where remote files are fetched to: on a local store a later run finds what is there."""
    if run.store.is_local:
        yield Path(run.store.base, run.work_folder)
    else:
        with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
            yield Path(folder)
