"""``raw_pairs``: the planned source rows of a partition in canonical columns.

Also written are the rows that are no pairs, and the keys that deduplication compares.
"""

import hashlib
import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.pairs import columns, opening, outputs, reading
from clip_assets.pairs.staging import Staging
from clip_assets.partitions import ledger
from clip_assets.settings import Sources
from clip_assets.storage import sql
from clip_assets.storage.manifests import ABSENT, Catalog, Report
from clip_assets.storage.stages import Outcome, Stage, StageRun, materialize

RAW_PAIRS = Stage("raw_pairs", "1")

MEMORY_BYTES = 1 << 30
"""Bound on DuckDB's memory; rows beyond it wait on disk. Python adds one batch of rows."""


def raw_pairs_inputs(
    catalog: Catalog, partition: PartitionKey, settings: Sources
) -> dict[str, str]:
    """The plan and the settings that decide what is read, and how."""
    try:
        plan = ledger.read_plan(catalog.store, partition).digest()
    except MissingArtifactError:
        plan = ABSENT
    chosen = json.dumps([settings.columns, settings.duplicates], sort_keys=True)
    return {"plan": plan, "settings": hashlib.sha256(chosen.encode()).hexdigest()}


def raw_pairs(catalog: Catalog, partition: PartitionKey, settings: Sources) -> Outcome:
    """Read a partition's source rows.

    Memory: ``MEMORY_BYTES`` and one batch, whatever the partition's size.

    Raises:
        SourceMissingError: a planned file is gone.
        SourceChangedError: a planned file is another one.
        SourceFormatError: a file holds no urls, or not what its name says.
    """
    inputs = raw_pairs_inputs(catalog, partition, settings)
    return materialize(
        catalog, RAW_PAIRS, partition, inputs, lambda run: _read_sources(run, settings)
    )


def _read_sources(run: StageRun, settings: Sources) -> Report:
    ranges = ledger.read_plan(run.store, run.partition).ranges
    for source in ranges:
        opening.verify(source)
    with _fetch_folder(run) as folder, sql.connection(MEMORY_BYTES) as database:
        staging = Staging(database, settings)
        understood = columns.understood(settings.columns)
        for done, source in enumerate(reading.stage(staging, ranges, understood, folder)):
            run.progress(done, len(ranges), "files")
            # A file that was written to while it was read is not the planned one either.
            opening.verify(source)
        with run.publish(layout.raw(run.partition)) as part:
            outputs.write_rows(staging, part)
        with run.publish(layout.pair_keys(run.partition)) as part:
            outputs.write_keys(staging, part)
        with run.publish(layout.rejects(run.partition)) as part:
            outputs.write_rejects(staging, part, [source.uri for source in ranges])
        kept, dropped = staging.kept(), staging.dropped()
        return Report(
            rows_in=kept + sum(dropped.values()),
            rows_out=kept,
            dropped=dropped,
            figures={
                "files": len({source.uri for source in ranges}),
                "values_that_do_not_fit": staging.misfits(),
                "rows_repaired_to_utf8": staging.repaired,
                "further_columns": list(staging.extras.values()),
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
