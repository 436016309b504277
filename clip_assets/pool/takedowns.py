"""What was taken down of a pool: a store-wide table of uids and urls, heeded by who tells rows.

Here it is read, looked at again and written. Which vectors, samples and rows it means is found by
those who have them; the words for people are in ``commands.takedown``.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.errors import MissingArtifactError
from clip_assets.storage import locks, tables, uids
from clip_assets.storage.store import Store

NAME = "takedowns"
"""Of the store-wide table, in the columns of ``schemas.TAKEDOWNS``."""

PATH = layout.store_wide(NAME)

LOOK_S = 10.0
"""Seconds between two looks at the table on an object store, where each costs a request."""

REASON = "taken_down"
"""Why a row is left out, in reports."""

_NO_URLS = pa.Array.from_buffers(pa.string(), 0, [None, pa.py_buffer(bytes(4)), pa.py_buffer(b"")])
# ``pyarrow.array`` loads pandas, which takes as long as a small choice of rows.


@dataclass(frozen=True, eq=False)
class TakenDown:
    """What is taken down at one moment.

    Args:
        table: of ``schemas.TAKEDOWNS``.
    """

    table: pa.Table

    def __len__(self) -> int:
        """How many entries."""
        return len(self.table)

    @cached_property
    def pairs(self) -> uids.UidPairs:
        """Of the uids, each once, in order."""
        return np.unique(uids.in_order(uids.pairs(self.table["uid"].drop_null())))

    @cached_property
    def keys(self) -> uids.Keys:
        """Of the uids, each once, sorted."""
        return uids.keys(self.pairs)

    @cached_property
    def urls(self) -> pa.Array:
        """Urls every pair of which is meant, each once."""
        if not len(self):
            return _NO_URLS
        import pyarrow.compute as pc

        whole = self.table.filter(pc.is_null(self.table["uid"]))
        return pa.array(whole["url"].unique().to_pylist(), pa.string())

    def mask(
        self, named: pa.ChunkedArray | uids.UidPairs, urls: pa.ChunkedArray | None = None
    ) -> npt.NDArray[np.bool_]:
        """Which rows are taken down.

        Args:
            named: (n,) uids of the rows.
            urls: (n,) of the rows; None: uids alone say it, which is enough for pairs that the
                pool had when their url was named.

        Returns:
            (n,)

        Raises:
            SchemaError: one of the uids is none.
        """
        count = len(named)
        if not len(self) or not count:
            return np.zeros(count, np.bool_)
        pairs = named if isinstance(named, np.ndarray) else uids.pairs(named)
        is_gone = is_among(uids.keys(pairs), self.keys)
        if urls is not None and len(self.urls):
            import pyarrow.compute as pc

            is_gone |= np.asarray(pc.is_in(urls, self.urls), np.bool_)
        return is_gone


@cache
def nothing() -> TakenDown:
    """What is taken down where there is no table."""
    # Schema.empty_table loads pandas too.
    return TakenDown(pa.Table.from_batches([], schemas.TAKEDOWNS))


def is_among(keys: uids.Keys, some: uids.Keys) -> npt.NDArray[np.bool_]:
    """(n,) bool, which keys are among some sorted ones."""
    if not len(some):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(some, keys), len(some) - 1)
    return some[places] == keys


class Takedowns:
    """The table of a store, as it is at any moment. Threads may share one.

    Args:
        store: the pool's files.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: object = None
        self._known = nothing()
        self._next_look_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> TakenDown:
        """What is taken down by now; the same object as before where the table did not change.

        On a disk every call looks; on an object store one in ``LOOK_S``.

        Raises:
            SchemaError: another program wrote the table.
        """
        if not self._store.is_local and time.monotonic() < self._next_look_s:
            return self._known
        seen = self._look()
        if seen == self._seen:
            return self._known
        with self._lock:
            if seen != self._seen:
                # Read after the look: what comes later is another look's difference.
                self._known = nothing() if seen is None else read(self._store)
                self._seen = seen
            return self._known

    def _look(self) -> object:
        """What differs when the table does; None where there is none."""
        if self._store.is_local:
            try:
                state = Path(self._store.base, PATH).stat()
            except FileNotFoundError:
                return None
            return state.st_ino, state.st_size, state.st_mtime_ns
        self._next_look_s = time.monotonic() + LOOK_S
        try:
            return self._store.read_bytes(PATH)
        except MissingArtifactError:
            return None


def read(store: Store) -> TakenDown:
    """What is taken down of a store; nothing where there is no table.

    Raises:
        SchemaError: another program wrote it.
    """
    if not store.exists(PATH):
        return nothing()
    return TakenDown(tables.read(store, PATH, schemas.TAKEDOWNS))


def of(named: Sequence[str], urls: Sequence[str]) -> TakenDown:
    """What is meant by some uids and urls, before anything of it is written.

    Raises:
        SchemaError: one of the uids is none.
    """
    uids.pairs(pa.chunked_array([list(named)], pa.string()))
    return TakenDown(_rows([*((uid, None) for uid in named), *((None, url) for url in urls)], None))


def take_down(
    store: Store,
    named: Sequence[str],
    urls: Sequence[str],
    pairs_of: pa.Table,
    reason: str | None,
) -> int:
    """Put uids and urls into the table; those that are there stay as they are.

    Args:
        store: the pool's files.
        named: uids.
        urls: every pair of each is meant.
        pairs_of: ``uid`` and ``url`` of the pairs that the pool has of the urls.
        reason: for people.

    Returns:
        How many entries are new.

    Raises:
        BusyError: somebody else writes the table.
    """
    wanted: dict[tuple[str | None, str | None], None] = {}
    wanted |= dict.fromkeys((uid.lower(), None) for uid in named)
    wanted |= dict.fromkeys((None, url) for url in urls)
    of_urls = zip(pairs_of["uid"].to_pylist(), pairs_of["url"].to_pylist(), strict=True)
    wanted |= dict.fromkeys(of_urls)
    with locks.exclusive(store, NAME):
        before = read(store).table
        there = set(zip(before["uid"].to_pylist(), before["url"].to_pylist(), strict=True))
        new = [one for one in wanted if one not in there]
        if new:
            _write(store, pa.concat_tables([before, _rows(new, reason)]))
    return len(new)


def undo(store: Store, named: Sequence[str], urls: Sequence[str], *, dry_run: bool = False) -> int:
    """Take uids and urls, with the pairs of these, out of the table.

    Args:
        store: the pool's files.
        named: uids.
        urls: of which every pair was meant.
        dry_run: whether to count alone.

    Returns:
        How many entries go.

    Raises:
        BusyError: somebody else writes the table.
    """
    with locks.exclusive(store, NAME):
        import pyarrow.compute as pc

        before = read(store).table
        lower = [uid.lower() for uid in named]
        goes = pc.or_(
            pc.and_(
                pc.is_in(before["uid"], pa.array(lower, pa.string())), pc.is_null(before["url"])
            ),
            pc.is_in(before["url"], pa.array(list(urls), pa.string())),
        )
        kept = before.filter(pc.invert(goes))
        if len(kept) < len(before) and not dry_run:
            _write(store, kept)
    return len(before) - len(kept)


def _rows(named: Sequence[tuple[str | None, str | None]], reason: str | None) -> pa.Table:
    now = datetime.now(UTC)
    rows = [{"uid": uid, "url": url, "reason": reason, "time": now} for uid, url in named]
    return pa.Table.from_pylist(rows, schemas.TAKEDOWNS)


def _write(store: Store, table: pa.Table) -> None:
    if not len(table):
        # As if nothing had ever been taken down: what heeds it is as it was.
        store.delete(PATH)
        return
    with store.publish(PATH) as part:
        tables.write(part, table, schemas.TAKEDOWNS)
