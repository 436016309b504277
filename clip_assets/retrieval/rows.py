"""Rows of an index version by vector id, read from where they lie.

Only the row groups that hold a wanted id are read; no table is ever held whole. What the rows
are is said by ``index.id_mapping``, which writes them.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.index.versions import Version
from clip_assets.layout import PartitionKey
from clip_assets.storage.store import Store


class Rows:
    """The metadata of one index version.

    Args:
        store: the pool's files.
        version: which rows.
        stack: what closes opened files.
    """

    def __init__(self, store: Store, version: Version, stack: ExitStack) -> None:
        self._store = store
        self._version = version
        self._stack = stack
        self._starts = [slot.start for slot in version.slots]
        self._files: dict[int, tuple[pq.ParquetFile, list[int]]] = {}

    def partition(self, vector_id: int) -> PartitionKey | None:
        """Whose vector an id is, None for an id that is not in use."""
        content = self._version.slots[self._slot(vector_id)].content
        return content.partition if content else None

    def read(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by column, one for each id, in the order of the ids; all None for unused ids."""
        wanted: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place, vector_id in enumerate(ids):
            wanted[self._group(vector_id)].append(place)
        rows: list[dict[str, Any]] = [{}] * len(ids)
        for (slot, group), places in wanted.items():
            file, starts = self._opened(slot)
            table = file.read_row_group(group, columns=schemas.INDEX_ROWS.names)
            first = self._starts[slot] + starts[group]
            taken = table.take([ids[place] - first for place in places]).to_pylist()
            for place, row in zip(places, taken, strict=True):
                rows[place] = row
        return rows

    def find(self, uid: str) -> int | None:
        """The lowest vector id of a uid, None if the version has none.

        Goes through the uids of the whole version.
        """
        for slot in (number for number, slot in enumerate(self._version.slots) if slot.count):
            file, starts = self._opened(slot)
            for group, start in enumerate(starts[:-1]):
                uids = file.read_row_group(group, columns=["uid"])["uid"]
                place = pc.index(uids, uid).as_py()
                if place >= 0:
                    return self._starts[slot] + start + place
        return None

    def _slot(self, vector_id: int) -> int:
        return bisect_right(self._starts, vector_id) - 1

    def _group(self, vector_id: int) -> tuple[int, int]:
        slot = self._slot(vector_id)
        _, starts = self._opened(slot)
        return slot, bisect_right(starts, vector_id - self._starts[slot]) - 1

    def _opened(self, slot: int) -> tuple[pq.ParquetFile, list[int]]:
        """The file of a range of ids, and where each of its row groups starts."""
        if slot not in self._files:
            path = layout.index_rows(self._version.name, slot)
            local = self._stack.enter_context(self._store.local(path))
            file = self._stack.enter_context(pq.ParquetFile(local, memory_map=True))
            self._files[slot] = file, list(accumulate(_group_sizes(file), initial=0))
        return self._files[slot]


def _group_sizes(file: pq.ParquetFile) -> Iterable[int]:
    return (file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
