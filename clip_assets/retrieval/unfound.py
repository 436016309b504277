"""The vector ids of a version whose pairs were taken down: what no search finds.

The table of what was taken down is read by ``pool.takedowns``.
"""

import threading

import numpy as np
import pyarrow.compute as pc

from clip_assets.index.versions import Version
from clip_assets.pool.takedowns import Takedowns, TakenDown, nothing
from clip_assets.retrieval.rows import Ids, Rows
from clip_assets.storage.store import Store

ROWS_AT_ONCE = 2**17
"""Whose urls are in memory together."""


class TakenDownIds:
    """The ids of one version that are taken down, at any moment. Threads may share it.

    Args:
        store: the pool's files.
        version: whose ids.
        rows: of it.
    """

    def __init__(self, store: Store, version: Version, rows: Rows) -> None:
        self._takedowns = Takedowns(store)
        self._version, self._rows = version, rows
        self._of: TakenDown = nothing()
        self._ids: Ids = np.empty(0, np.int64)
        self._by_url: tuple[frozenset[str], Ids] = frozenset(), self._ids
        self._lock = threading.Lock()

    def now(self) -> Ids:
        """(n,) int64, ascending, each once.

        Where urls were taken down, the first call after that goes through the urls of the version.

        Raises:
            SchemaError: another program wrote the table.
        """
        told = self._takedowns.now()
        if told is not self._of:
            with self._lock:
                if told is not self._of:
                    self._ids, self._of = self._found(told), told
        return self._ids

    def _found(self, told: TakenDown) -> Ids:
        named = self._rows.every(told.pairs)
        urls = frozenset(map(str, told.urls.to_pylist()))
        if urls != self._by_url[0]:
            self._by_url = urls, self._of_urls(told) if urls else np.empty(0, np.int64)
        return np.unique(np.concatenate([named, self._by_url[1]]))

    def _of_urls(self, told: TakenDown) -> Ids:
        parts = [np.empty(0, np.int64)]
        for slot, _ in self._version.used:
            for start in range(slot.start, slot.start + slot.count, ROWS_AT_ONCE):
                ids = np.arange(start, min(start + ROWS_AT_ONCE, slot.start + slot.count))
                is_gone = pc.is_in(self._rows.table(ids, ["url"])["url"], told.urls)
                parts.append(ids[np.asarray(is_gone, np.bool_)])
        return np.concatenate(parts)
