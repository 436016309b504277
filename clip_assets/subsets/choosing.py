"""One choice from beginning to end: from rows and a definition to a file of uids and its figures.

Pools and folders of metadata are chosen from alike; ``subset_files`` does it as a stage.
"""

import os
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SchemaError
from clip_assets.settings.bases import SubsetSettings
from clip_assets.settings.choices import Chosen
from clip_assets.storage import tables, uids
from clip_assets.storage.uids import Keys, keys
from clip_assets.subsets.candidates import Candidates
from clip_assets.subsets.cut_captions import CutCaptions
from clip_assets.subsets.judgement import Judgement, Mask
from clip_assets.subsets.methods import METHODS
from clip_assets.subsets.selection import UID, Judge, Selection
from clip_assets.subsets.sorting import Records, Sorter

if TYPE_CHECKING:
    from clip_assets.storage.sql import Database

Value = TypeVar("Value")

MEMORY_BYTES = 2**29
"""Of judging one piece's rows in SQL; beyond it, DuckDB spills."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What was chosen.

    Args:
        rows: that were looked at.
        kept: of them, those that are listed.
        listed: uids in the file: kept rows, each as often as its method says.
        distinct: uids that are listed.
        dropped: other rows, by reason.
        facts: of methods, for people.
        pictures: what draws a PNG, by its title: only steps do.
        added: uids that the last file does not list; None without one.
        removed: uids that the last file lists and this one does not.
    """

    rows: int
    kept: int
    listed: int
    distinct: int
    dropped: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pictures: Mapping[str, Callable[[], bytes]] = field(
        default_factory=dict[str, Callable[[], bytes]]
    )
    added: int | None = None
    removed: int | None = None


def choose(  # noqa: PLR0913  (what it reads, writes and tells)
    rows: Candidates,
    named: Mapping[str, SubsetSettings],
    chosen: Chosen,
    target: Path | None,
    *,
    last: Path | None = None,
    groups: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _unit: None,
) -> Picked:
    """Choose rows and list their uids, sorted, as DataComp's tools read them.

    Memory: a piece's rows in the columns that the definition reads, what its methods say, and of
    the uids what ``sorting.Sorter`` takes. The disk has 16 bytes for each uid of a large file,
    and 8 for each score that a share is taken of.

    Args:
        rows: what is chosen from.
        named: definitions that others may name.
        chosen: a definition, or a name.
        target: the file; None to count alone.
        last: a file to compare with.
        groups: a file for the groups of what is alike, where the definition itself finds some.
        progress: told how many pieces were read.

    Raises:
        ClipAssetsError: of the definition, its files, or the rows.
    """
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder, ExitStack() as stack:

        @cache
        def database() -> "Database":
            # A choice without it ends before DuckDB is loaded.
            from clip_assets.storage import sql

            return stack.enter_context(sql.connection(MEMORY_BYTES))

        selection = Selection(rows, named, METHODS, Path(folder), database, progress)
        sorter = Sorter(Path(folder), schemas.UID_PAIR)
        judge = selection.judge(chosen)
        cut = CutCaptions(selection)
        count, kept, dropped = _judged(selection, judge, cut, sorter)
        distinct, added, removed = _write(sorter, target, last)
        told = [tell() for tell in selection.told]
        if groups is not None and told and told[-1].groups:
            # A definition tells after those that are in it.
            tables.write_batches(groups, schemas.SUBSET_GROUPS, told[-1].groups())
        told.append(cut.told())
    return Picked(
        rows=count,
        kept=kept,
        listed=sorter.rows,
        distinct=distinct,
        dropped=dict(dropped),
        facts=_apart([one.facts for one in told]),
        pictures=_apart([one.pictures for one in told]),
        added=added,
        removed=removed,
    )


def _judged(
    selection: Selection, judge: Judge, cut: CutCaptions, sorter: Sorter
) -> tuple[int, int, Counter[str]]:
    """Judge all rows, and list those that are kept.

    Returns:
        How many there are, how many are kept, and how many are dropped by reason.
    """
    count, kept, dropped = 0, 0, Counter[str]()
    with ThreadPoolExecutor(1, "clip-assets-listing") as lister:
        listing: Future[None] | None = None
        for piece, table in selection.tables({UID} | judge.columns | cut.columns):
            verdict = judge.decide(piece, table)
            cut.add(table, verdict.kept)
            count += len(table)
            dropped.update({why: int(mask.sum()) for why, mask in verdict.dropped.items()})
            kept += int(np.count_nonzero(verdict.kept))
            if listing is not None:
                # Of what was listed before, while the next piece is judged.
                listing.result()
            listing = lister.submit(_list, sorter, piece, table[UID], verdict)
        if listing is not None:
            listing.result()
    return count, kept, dropped


def _apart(told: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """What several methods say, by name; a name that was there is numbered."""
    every: dict[str, Value] = {}
    for one in told:
        for name, value in one.items():
            alike = sum(other == name or other.startswith(f"{name} (") for other in every)
            every[f"{name} ({alike + 1})" if alike else name] = value
    return every


def _list(sorter: Sorter, piece: str, column: pa.ChunkedArray, verdict: Judgement) -> None:
    """Give a sorter a piece's uids, each as often as it is listed.

    Raises:
        SchemaError: one is none.
    """
    kept = verdict.kept
    own = int(np.count_nonzero(kept))
    passed = _uids(piece, column, None if own == len(column) else kept)
    is_repeated = int(verdict.times.sum()) > own
    sorter.add(np.repeat(passed, verdict.times[kept]) if is_repeated else passed)


def _uids(piece: str, column: pa.ChunkedArray, kept: Mask | None) -> uids.UidPairs:
    """Uids of a piece, or of those of its rows that are kept.

    Raises:
        SchemaError: one is none.
    """
    try:
        is_text = pa.types.is_string(column.type)
        return uids.pairs(column if is_text else column.cast(pa.string()), kept)
    except (SchemaError, pa.ArrowInvalid) as error:
        raise SchemaError(
            f"{piece}: {UID}",
            error.found if isinstance(error, SchemaError) else f"{column.type}",
            f"a text of {uids.DIGITS} hex digits",
            "Give every row the uid that DataComp's metadata have.",
        ) from error


def is_subset(file: Path) -> bool:
    """Whether a file is an array of uids, as ``choose`` writes it."""
    try:
        records = _mapped(file)
    except (OSError, ValueError, EOFError):
        return False
    return records.ndim == 1 and records.dtype == np.dtype(schemas.UID_PAIR)


@dataclass(slots=True)
class _Comparison:
    """A file that is compared with, and how far it was."""

    records: Records
    reached: int = 0
    common: int = 0
    distinct: int = 0

    def compare(self, own: Keys, until: int) -> None:
        """Count what some distinct keys share with the file's next records."""
        other = _unique(keys(self.records[self.reached : until]))
        places = np.minimum(np.searchsorted(other, own), max(len(other) - 1, 0))
        self.common += int(np.count_nonzero(other[places] == own)) if len(other) else 0
        self.distinct += len(other)
        self.reached = until

    def until(self, block: Records) -> int:
        """The end of the file's records that begin with the same byte as a block's."""
        bound = ((int(block["f0"][0]) >> 56) + 1) << 56
        records = range(self.reached, len(self.records))
        return self.reached + bisect_left(records, bound, key=lambda i: int(self.records[i]["f0"]))


def _write(
    sorter: Sorter, target: Path | None, last: Path | None
) -> tuple[int, int | None, int | None]:
    """Write the file; count its uids, those that the last one lacks, and those it alone had."""
    before = _Comparison(_mapped(last)) if last else None
    distinct = 0
    with (target or Path(os.devnull)).open("wb") as file:
        _write_header(file, sorter.rows)
        for block in sorter.blocks():
            file.write(block.view(np.uint8).data)
            distinct += _distinct(block)
            if before:
                own = _unique(keys(block))
                # Blocks are apart in the order of uids, so each has its stretch of the other file.
                end = before.until(block) if sorter.is_divided else len(before.records)
                before.compare(own, end)
    if before is None:
        return distinct, None, None
    before.compare(keys(before.records[:0]), len(before.records))
    return distinct, distinct - before.common, before.distinct - before.common


def _distinct(block: Records) -> int:
    """How many uids a sorted block has; faster than by their keys."""
    first, second = (np.ascontiguousarray(block[half]) for half in ("f0", "f1"))
    return 1 + int(np.count_nonzero((first[1:] != first[:-1]) | (second[1:] != second[:-1])))


def _unique(ordered: Keys) -> Keys:
    is_new = np.ones(len(ordered), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


def _mapped(file: Path) -> Records:
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _write_header(file: IO[bytes], rows: int) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(schemas.UID_PAIR))
    header = {"descr": descr, "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(file, header)
