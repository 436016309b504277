"""What was read of files and is kept in memory, up to a number of bytes in all.

Everything that searches of an index keep is in one such, so that one bound holds for all: see
``index.far.far_lists``, ``index.far.far_vectors``, ``retrieval.rows`` and ``index.mapped_rows``.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, NamedTuple

MOST_BYTES = 62 << 20
"""Of one opened pool or data set; with ``web_addresses.KEPT_BYTES`` they are 64 MiB."""

ENTRY_BYTES = 256
"""What one more costs beside its own bytes: its key, its place and Python's objects."""


class _Entry(NamedTuple):
    value: Any
    size_bytes: int


class Kept:
    """Values by key; those used longest ago are forgotten first. Threads may share it.

    What is dear, since all else is read with its help, is forgotten for what is dear alone.

    Args:
        most_bytes: in all; None: ``MOST_BYTES``. A value that takes more by itself is not kept.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self._others: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._dear: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = Lock()
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Of all that is kept."""
        return self._bytes

    def get(self, key: Hashable) -> Any:
        """A value; None where it is not kept, or not any more."""
        with self._lock:
            for entries in (self._others, self._dear):
                if (entry := entries.get(key)) is not None:
                    entries.move_to_end(key)
                    return entry.value
            return None

    def put(self, key: Hashable, value: Any, size_bytes: int, *, is_dear: bool = False) -> None:
        """Keep a value in place of what has its key.

        Args:
            key: of it; one that is dear is always dear.
            value: not None.
            size_bytes: that it takes, without the entry itself.
            is_dear: it stays where others would have to make room for one that is not.
        """
        entries = self._dear if is_dear else self._others
        entry = _Entry(value, size_bytes + ENTRY_BYTES)
        with self._lock:
            self._forget(entries, key)
            if entry.size_bytes > self._most_bytes:
                return  # for what there is no room for, nothing else makes any
            entries[key] = entry
            self._bytes += entry.size_bytes
            for room in (self._others, self._dear):
                while room and self._bytes > self._most_bytes:
                    self._forget(room, next(iter(room)))

    def clear(self, *, also_dear: bool = True) -> None:
        """Forget all, or all that is not dear."""
        with self._lock:
            for entries in (self._others, self._dear) if also_dear else (self._others,):
                for key in list(entries):
                    self._forget(entries, key)

    def _forget(self, entries: OrderedDict[Hashable, _Entry], key: Hashable) -> None:
        entry = entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size_bytes
