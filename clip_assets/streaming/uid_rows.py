"""Which sample of a pool has a uid: looked up in files of this machine's cache.

The files are made once for a state of the pool's shards, from all its uids; from then on opening a
subset takes what the subset is long, and opening it again hardly anything, as what was found is
kept too. They may be removed at any time. Where a sample lies in its
tar is the matter of ``tar_samples``.
"""

import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clip_assets.files.pinned import cache_folder
from clip_assets.storage.uids import UidPairs
from clip_assets.streaming.permutation import Rows

logger = logging.getLogger(__name__)

FOLDER = "uid-rows"

PART_S = 24 * 3600.0

ARRAYS = ("firsts", "seconds", "rows", "counts")

FOUND = "found"
"""Folder of what was found for lists of uids."""

MOST_FOUND = 8
"""Lists whose rows are kept; beyond them the oldest ones go."""


@dataclass(frozen=True)
class UidRows:
    """The samples of a pool by uid.

    Args:
        firsts: (n,) uint64 first halves of the uids, ascending.
        seconds: (n,) uint64 second halves.
        rows: (n,) int64 number of the sample; ascending where halves are the same.
        counts: (shards,) int64 samples of each shard.
        folder: where they are kept, None where they are not.
    """

    firsts: npt.NDArray[np.uint64]
    seconds: npt.NDArray[np.uint64]
    rows: Rows
    counts: Rows
    folder: Path | None = None

    @classmethod
    def of(cls, known: Sequence[UidPairs]) -> Self:
        """From the uids of every shard's samples, in their order."""
        none = np.empty(0, np.uint64)
        firsts = np.concatenate([none, *(np.ascontiguousarray(one["f0"]) for one in known)])
        seconds = np.concatenate([none, *(np.ascontiguousarray(one["f1"]) for one in known)])
        order = np.argsort(firsts, kind="stable")
        counts = np.array([len(one) for one in known], np.int64)
        return cls(firsts[order], seconds[order], order, counts)

    def located(self, wanted: UidPairs, digest: str) -> Rows:
        """Like ``find``, and what was found is kept.

        Args:
            wanted: uids.
            digest: of them.
        """
        if self.folder is None:
            return self.find(wanted)
        path = self.folder / FOUND / f"{digest}.npy"
        with suppress(OSError, ValueError, EOFError):
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            if rows.shape == wanted.shape:
                path.touch()
                return rows.view(np.ndarray)
        rows = self.find(wanted)
        try:
            _keep(path, rows)
        except OSError as error:
            logger.warning("rows of a subset cannot be kept in %s: %s", path.parent, error)
        return rows

    def find(self, wanted: UidPairs) -> Rows:
        """The first sample of each uid, (n,); -1 for one that has none."""
        firsts = np.asarray(wanted["f0"])
        if (firsts[1:] < firsts[:-1]).any():
            # From front to back through memory and files: of many, a tenth of the time.
            order = np.argsort(firsts)
            found_rows = np.empty(len(wanted), np.int64)
            found_rows[order] = self.find(wanted[order])
            return found_rows
        found_rows = np.full(len(wanted), -1, np.int64)
        for entries, rows in self._matches(wanted):
            new = found_rows[entries] < 0
            found_rows[entries[new]] = rows[new]
        return found_rows

    def every(self, wanted: UidPairs) -> Rows:
        """All samples of some uids, ascending, each once."""
        matches = [rows for _, rows in self._matches(wanted)]
        return np.unique(np.concatenate([np.empty(0, np.int64), *matches]))

    def _matches(self, wanted: UidPairs) -> Iterator[tuple[Rows, Rows]]:
        """Entries of ``wanted`` with a sample of each: the first samples, then the second ones."""
        firsts, seconds = np.asarray(wanted["f0"], np.uint64), np.asarray(wanted["f1"], np.uint64)
        entries = np.arange(len(wanted))
        places = np.searchsorted(self.firsts, firsts)
        # As halves of digests hardly ever are the same, this goes round twice.
        while len(entries):
            inside = places < len(self.firsts)
            entries, places = entries[inside], places[inside]
            same = self.firsts[places] == firsts[entries]
            entries, places = entries[same], places[same]
            hits = self.seconds[places] == seconds[entries]
            yield entries[hits], np.asarray(self.rows[places[hits]])
            places = places + 1


class AllBut:
    """The numbers of all samples but some, which takes no more memory than those.

    Args:
        size: how many there are.
        gone: those that are left out, ascending, each once.

    Attributes:
        gone: likewise.
    """

    def __init__(self, size: int, gone: Rows) -> None:
        self._size, self.gone = size - len(gone), gone
        # How many others come before each of those that are gone.
        self._before = gone - np.arange(len(gone))

    def __len__(self) -> int:
        """How many are left."""
        return self._size

    def __getitem__(self, row: int) -> int:
        """The number of one of them."""
        return row + int(np.searchsorted(self._before, row, side="right"))


def kept(where: str, digest: str, known: Callable[[], Sequence[UidPairs]]) -> UidRows:
    """The samples of a pool by uid, from the cache; those that are not there are put there.

    Args:
        where: address of the pool; of each the newest files are kept.
        digest: of the pool's shards.
        known: reads the uids of the samples of every shard.
    """
    pools = cache_folder() / FOLDER / hashlib.sha256(where.encode()).hexdigest()[:32]
    folder = pools / digest
    if (stored := _read(folder)) is not None:
        return stored
    made = UidRows.of(known())
    part = pools / f"{digest}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        for name in ARRAYS:
            np.save(part / f"{name}.npy", getattr(made, name))
        for other in pools.iterdir():
            # What a killed process left is nobody's after a day.
            if other.suffix != ".part" or time.time() - other.stat().st_mtime > PART_S:
                shutil.rmtree(other, ignore_errors=True)
        part.replace(folder)
    except OSError as error:
        logger.warning("the uids of %s cannot be kept in %s: %s", where, pools, error)
        shutil.rmtree(part, ignore_errors=True)
    return _read(folder) or made


def _keep(path: Path, rows: Rows) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("wb") as file:
            np.save(file, rows)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    by_age = sorted(path.parent.iterdir(), key=lambda other: other.stat().st_mtime)
    for other in by_age[:-MOST_FOUND]:
        other.unlink(missing_ok=True)


def _read(folder: Path) -> UidRows | None:
    """What is kept; None where there is nothing, or nothing whole."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    with suppress(OSError, ValueError, EOFError):
        for name in ARRAYS:
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        lengths = {len(arrays[name]) for name in ARRAYS[:3]}
        if lengths == {int(arrays["counts"].sum())}:
            return UidRows(**arrays, folder=folder)
    return None
