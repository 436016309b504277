"""A subset's samples from any tars into new ones, in DataComp's layout.

Tars of eight digits, each with the number of its samples beside it, the uids, and what was done.
Each output shard is made on its own from the plan, so that they are made side by
side, and a killed run goes on after those that are whole.
"""

import json
import logging
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_assets import layout
from clip_assets.errors import ConfigurationError, MissingArtifactError, SourceMissingError
from clip_assets.masking import masked
from clip_assets.reshard.changes import Changes, changes_of, metadata_files
from clip_assets.reshard.inputs import taken_down, tars_in
from clip_assets.reshard.output import SHARD_SIZE, WORKERS, shards, write_shards
from clip_assets.reshard.plan import CopyPlan, plan_of
from clip_assets.reshard.subset_file import WantedUids, read_subset
from clip_assets.storage import leftovers, uids
from clip_assets.storage.store import Store
from clip_assets.storage.uids import UidPairs

logger = logging.getLogger(__name__)

BEGUN = "reshard.json"
"""What an output folder's shards are made from; written first."""

META = "meta.json"
"""What was done; written last, so that the folder is whole."""

SAMPLE_IDS = "sample_ids.npy"
MISSING = "missing_ids.npy"

SHOWN = 5
"""Uids that an error names."""


@dataclass(frozen=True, slots=True)
class Options:
    """How samples are dealt out.

    Args:
        shard_size: samples of an output shard.
        seed: of the order of all samples; None for that of the inputs.
        allow_missing: whether uids may be in no tar.
        workers: threads that copy.
        metadata: parquet with uid, or a folder of such, that columns and boxes are taken from.
        columns: that are put into the json of samples.
        blur_faces: whether boxes of the metadata are blurred, and these images encoded again.
    """

    shard_size: int = SHARD_SIZE
    seed: int | None = None
    allow_missing: bool = False
    workers: int = WORKERS
    metadata: str = ""
    columns: tuple[str, ...] = ()
    blur_faces: bool = False


@dataclass(frozen=True, slots=True)
class Resharded:
    """What was done.

    Args:
        samples: written, uids that are wanted twice counted twice.
        shards: of the output.
        kept: shards of these that an earlier run had finished.
        missing: uids that no tar has.
        repeated: samples left out since one before them has the uid.
        without_uid: samples of the inputs that have none.
        taken_down: uids that were taken down of a pool that is an input.
        content_bytes: of the samples in the inputs.
        seconds: of this run.
    """

    samples: int
    shards: int
    kept: int
    missing: int
    repeated: int
    without_uid: int
    taken_down: int
    content_bytes: int
    seconds: float


def reshard(
    subset: str, output: str, inputs: Sequence[str], options: Options = Options()
) -> Resharded:
    """Copy a subset's samples into new tars.

    Args:
        subset: path or url of its uids, see ``subset_file``.
        output: folder, path or url; empty, or what a killed run of the same left.
        inputs: see ``inputs``.
        options: how.

    Raises:
        ConfigurationError: the subset is no list of uids, or the folder holds something else.
        SourceMissingError: an input has no tars, or uids are in none.
        SourceError: a tar or its folder cannot be read.
        SchemaError: a tar is damaged.
        StorageFullError: the disk is full.
    """
    start = time.monotonic()
    wanted, gone = _wanted(subset, inputs)
    tars = tars_in(inputs, output)
    folder = Store(output)
    logger.info("looking for %s uids in %s tars", f"{len(wanted):,}", f"{len(tars):,}")
    with ThreadPoolExecutor(options.workers) as executor:
        plan = plan_of(tars, wanted, executor, options.seed)
    _check_missing(plan, wanted, subset, folder, options)
    changes = _changes(wanted, options)
    _begin(folder, plan, options, changes)
    _write_ids(folder, SAMPLE_IDS, wanted.pairs())
    if plan.is_missing.any():
        _write_ids(folder, MISSING, wanted.chosen(plan.is_missing))
    else:
        folder.delete(MISSING)
    kept = write_shards(_Folder(folder), plan, wanted, options.shard_size, options.workers, changes)
    done = Resharded(
        len(plan),
        len(list(shards(len(plan), options.shard_size))),
        kept,
        int(plan.is_missing.sum()),
        plan.repeated,
        plan.without_uid,
        gone,
        plan.content_bytes,
        round(time.monotonic() - start, 3),
    )
    meta: dict[str, Any] = {
        "subset": masked(subset),
        "inputs": [*map(masked, inputs)],
        "output": masked(output),
    }
    meta |= {"shard_size": options.shard_size, "seed": options.seed}
    if changes:
        meta |= {"columns": options.columns, "blur_faces": options.blur_faces}
    counts = {name: value for name, value in asdict(done).items() if name != "kept"}
    folder.write_bytes(META, json.dumps(meta | counts, indent=1).encode())
    folder.delete(layout.TEMPORARY)
    return done


def _wanted(subset: str, inputs: Sequence[str]) -> tuple[WantedUids, int]:
    """Uids of a subset without those that were taken down, and how many these are."""
    wanted = read_subset(subset)
    if not wanted.was_sorted:
        logger.warning("%s is not sorted; its uids are taken in order", subset)
    is_gone = taken_down(inputs, wanted.chosen(np.arange(len(wanted))))
    if is_gone.all():
        raise ConfigurationError(
            subset, "nothing but uids that were taken down", "others", "See: clip-assets takedown"
        )
    return wanted.without(is_gone), int(is_gone.sum())


def _changes(wanted: WantedUids, options: Options) -> Changes | None:
    """What of the samples is changed, if anything is."""
    if not (options.columns or options.blur_faces):
        return None
    files = metadata_files(options.metadata)
    return changes_of(wanted, files, options.columns, blur=options.blur_faces)


class _Folder:
    """A folder as an output."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def is_read_again(self) -> bool:
        """For an upload."""
        return not self._store.is_local

    def whole(self) -> set[int]:
        """Shards that have their stats."""
        names = self._store.list("")
        digits = f"[0-9]{{{layout.SUBSET_SHARD_DIGITS},}}"
        matches = (re.fullmatch(f"({digits})_stats[.]json", name) for name in names)
        return {int(match[1]) for match in matches if match}

    def publish_tar(self, number: int) -> AbstractContextManager[Path]:
        """The tar of eight digits."""
        return self._store.publish(f"{number:0{layout.SUBSET_SHARD_DIGITS}d}.tar")

    def publish_stats(self, number: int, samples: int) -> None:
        """And its stats."""
        path = f"{number:0{layout.SUBSET_SHARD_DIGITS}d}_stats.json"
        self._store.write_bytes(path, json.dumps({"successes": samples}).encode())


def _check_missing(
    plan: CopyPlan, wanted: WantedUids, subset: str, folder: Store, options: Options
) -> None:
    missing = int(plan.is_missing.sum())
    if missing and (missing == len(wanted) or not options.allow_missing):
        if not {*folder.list("")} - {MISSING}:
            _write_ids(folder, MISSING, wanted.chosen(plan.is_missing))
            folder.delete(layout.TEMPORARY)
        named = ", ".join(uids.texts(wanted.chosen(plan.is_missing)[:SHOWN]))
        others = "" if options.allow_missing else ", or go on without: --allow-missing"
        raise SourceMissingError(
            subset,
            f"{missing:,} of {len(wanted):,} uids that no tar of the inputs has: {named}"
            + ", ..." * (missing > SHOWN),
            "samples of all uids",
            f"Name all inputs{others}. An output folder that was empty has all of them in "
            f"{MISSING}.",
        )


def _begin(folder: Store, plan: CopyPlan, options: Options, changes: Changes | None) -> None:
    """Take a folder that is empty, or that the same run began."""
    leftovers.sweep(folder)
    told = {"plan": plan.digest(), "shard_size": options.shard_size}
    begun = json.dumps(told | ({"changes": changes.digest()} if changes else {})).encode()
    try:
        is_same = folder.read_bytes(BEGUN) == begun
    except MissingArtifactError:
        is_same = not {*folder.list("")} - {MISSING}
    if not is_same:
        raise ConfigurationError(
            folder.uri(),
            "a folder with something else in it",
            "an empty folder, or what a run of the same subset, inputs and options left",
            "Name another one, or empty it.",
        )
    folder.write_bytes(BEGUN, begun)


def _write_ids(folder: Store, name: str, pairs: UidPairs) -> None:
    with folder.publish(name) as part, part.open("wb") as file:
        np.save(file, pairs)
