"""Rows of all candidates joined with sorted uids, in one pass over both, however many they are.

Rows are put into the order of their uids by way of files, so that the sorted ones are gone through
once and not for every piece. What it means that a row is found is the business of methods.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.storage.uids import UidPairs
from clip_assets.subsets.selection import Account, Selection
from clip_assets.subsets.sorted_uids import Found, SortedUids, distinct
from clip_assets.subsets.sorting import Records, Sorter

ASKED = np.dtype([*np.dtype(schemas.UID_PAIR).descr, ("row", "<i8")])


class MatchedRows:
    """Which rows of each piece have uids that are listed.

    Memory: what ``Sorter`` takes of 24 bytes a row. The disk has these of a large pool, and some
    20 bytes for each row that is found.

    Args:
        selection: whose candidates are asked for, all of them.
        listed: the uids.
        columns: that ``uids_of`` reads.
        uids_of: from a piece's table to (n,) what is looked up for each row.
        carried: a further field of the listed records, which rows that are found keep.
    """

    def __init__(
        self,
        selection: Selection,
        listed: SortedUids,
        columns: Iterable[str],
        uids_of: Callable[[pa.Table], UidPairs],
        carried: str | None = None,
    ) -> None:
        self._listed, self._carried = listed, carried
        kept: list[Any] = [("row", "<i8"), ("times", "<i8")]
        kept += [] if carried is None else [("value", listed.records.dtype[carried])]
        self._record = np.dtype(kept)
        self._folder = selection.new_folder()
        self._numbers: dict[str, int] = {}
        self._starts = [0]
        self._seen = 0
        sorter = Sorter(self._folder, ASKED)
        for piece, table in selection.tables(columns):
            asked = uids_of(table)
            records = np.empty(len(asked), ASKED)
            records["f0"], records["f1"] = asked["f0"], asked["f1"]
            records["row"] = np.arange(self._starts[-1], self._starts[-1] + len(asked))
            sorter.add(records)
            self._numbers[piece] = len(self._numbers)
            self._starts.append(self._starts[-1] + len(asked))
        for block in sorter.blocks():
            self._match(block)

    def of(self, piece: str) -> Records:
        """Rows of a piece that are found: ``row``, how many ``times``, and the carried ``value``.

        Equal records that lie far apart are told one after the other.
        """
        file = self._file(self._numbers[piece])
        return np.fromfile(file, self._record) if file.exists() else np.empty(0, self._record)

    def times(self, piece: str, count: int) -> npt.NDArray[np.int64]:
        """(count,) how often each row of a piece is listed."""
        times = np.zeros(count, np.int64)
        rows = self.of(piece)
        np.add.at(times, rows["row"], rows["times"])
        return times

    def told(self, where: str) -> Account:
        """How much of the list is in the pool."""
        count = distinct(self._listed.records)
        return Account({where: {"listed": count, "not_in_the_pool": count - self._seen}})

    def _match(self, block: Records) -> None:
        """Look some sorted rows up; equal ones are in the same block."""
        last = -1, -1
        for hits in self._listed.among(block):
            uids = block[hits.asked]
            is_new = np.ones(len(uids), np.bool_)
            is_new[1:] = (uids["f0"][1:] != uids["f0"][:-1]) | (uids["f1"][1:] != uids["f1"][:-1])
            # A uid may have been found in the stretch before, too.
            is_new[0] = (int(uids["f0"][0]), int(uids["f1"][0])) != last
            last = int(uids["f0"][-1]), int(uids["f1"][-1])
            self._seen += int(np.count_nonzero(is_new))
            self._keep(uids["row"], hits)

    def _keep(self, rows: npt.NDArray[np.int64], hits: Found) -> None:
        order = np.argsort(rows, kind="stable")
        records = np.empty(len(rows), self._record)
        records["row"], records["times"] = rows[order], hits.times[order]
        if self._carried is not None:
            records["value"] = self._listed.records[self._carried][hits.places[order]]
        ends = np.searchsorted(records["row"], self._starts)
        for number, (start, end) in enumerate(pairwise(ends.tolist())):
            if end > start:
                own = records[start:end]
                own["row"] -= self._starts[number]
                with self._file(number).open("ab") as part:
                    part.write(own.tobytes())

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}"
