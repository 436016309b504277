"""MetaCLIP's balancing: captions must have entries of a list, and frequent entries are thinned out.

The rule is that of arXiv 2309.16671: an entry of more than t captions keeps each of them with the
probability t / count; a pair stays if any of its entries keeps it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.settings.curation import Balanced
from clip_assets.storage import uids
from clip_assets.subsets import entries
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.matching import EntryList
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection

Counts = npt.NDArray[np.int64]

TEXT = "text"

SHOWN = 20
"""Most frequent entries that are told."""


def judge(selection: Selection, settings: Balanced, candidates: Judge) -> Judge:
    """Each pair by a number that follows from its uid, and by the entries that its caption has.

    The disk has 8 bytes for each match.

    Raises:
        SourceFormatError: the file holds no entries.
        SourceError: it cannot be read.
    """
    listed = EntryList(entries.read(settings.entries))
    counts = np.zeros(len(listed.texts), np.int64)
    matches = _Kept(selection.new_folder())
    columns = candidates.columns | {TEXT, UID}
    seen = 0
    for piece, table in selection.tables(columns):
        rows = np.flatnonzero(candidates.decide(piece, table).kept)
        seen += len(rows)
        of_piece = listed.match(table[TEXT].take(pa.array(rows, pa.int64())))
        counts += np.bincount(of_piece.entries, minlength=len(counts))
        matches.put(piece, rows[of_piece.captions], of_piece.entries)
    t = settings.t or at_tail(counts, settings.tail or 0)
    # That an entry does not keep a pair.
    lost = 1 - t / np.maximum(counts, t)

    def decide(piece: str, table: pa.Table) -> Judgement:
        rows, of_rows = matches.of(piece)
        has_entry = np.zeros(len(table), np.bool_)
        has_entry[rows] = True
        with np.errstate(divide="ignore"):
            none_keeps = np.exp(np.bincount(rows, np.log(lost[of_rows]), len(table)))
        drawn = uniform(uids.pairs(table[UID]), settings.seed) < 1 - none_keeps
        return passing(len(table), {"no_entry": has_entry, "balanced_out": drawn})

    selection.told.append(lambda: _told(settings.entries, listed, counts, t, seen))
    return Judge(columns, decide)


def at_tail(counts: Counts, tail: float) -> int:
    """The t at which entries of no more captions have a share of all matches: MetaCLIP's.

    Args:
        counts: (n,) captions of each entry.
        tail: the share.
    """
    ordered = np.sort(counts)
    total = int(ordered.sum())
    if not total:
        return 1
    return max(int(ordered[np.argmin(np.abs(np.cumsum(ordered) / total - tail))]), 1)


def _told(where: str, listed: EntryList, counts: Counts, t: int, seen: int) -> Account:
    frequent = np.argsort(-counts, kind="stable")[:SHOWN].tolist()
    figures = {
        "entries": len(counts),
        "entries_found": int(np.count_nonzero(counts)),
        "entries_thinned_out": int(np.count_nonzero(counts > t)),
        "captions": seen,
        "matches": int(counts.sum()),
        "t": t,
        "tail_share": round(float(counts[counts <= t].sum() / max(counts.sum(), 1)), 6),
        "most_frequent": {listed.texts[place]: int(counts[place]) for place in frequent},
    }
    return Account({where: figures})


class _Kept:
    """Matches of each piece, in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[str, int] = {}

    def put(self, piece: str, rows: npt.NDArray[np.int64], of_rows: npt.NDArray[np.int64]) -> None:
        """Keep rows, and the entry of each."""
        number = self._numbers.setdefault(piece, len(self._numbers))
        np.save(self._folder / f"{number}.npy", np.stack([rows, of_rows]).astype(np.int32))

    def of(self, piece: str) -> npt.NDArray[np.int32]:
        """(2, m) rows, and the entry of each."""
        return np.load(self._folder / f"{self._numbers[piece]}.npy")


METHOD = Method(Balanced, judge)
