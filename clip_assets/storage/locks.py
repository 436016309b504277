"""One writer at a time for one thing, across processes.

On a local store the lock is the kernel's: it cannot outlive its process, whatever kills it.
On an object store it is a lease that its holder renews; a holder that dies, or that cannot
reach the store, loses it after ``LEASE_S``. Published files are whole either way; a lock
spares work and mixed shards, it does not guard single files.

However slow the requests are, a lease is given once: its file is made by a request that the
store refuses when there is one. What remains possible is a holder that stands still between
two requests for so long that its lease runs out: it writes beside its successor until it looks
again, at its next renewal or at the end of its block, and then says so. The same is true of a
machine whose clock is wrong by ``LEASE_S``, and of stores that do not know such requests, for
two that take a lease at the same moment.
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clip_assets import layout
from clip_assets.errors import BusyError, MissingArtifactError
from clip_assets.storage.control import parsed
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

LEASE_S = 120.0
"""A lease on an object store that was not renewed for this long is free."""


@contextmanager
def exclusive(store: Store, name: str) -> Generator[None]:
    """Hold the lock ``name`` for the time of the block.

    Raises:
        BusyError: another process holds it; the message names it. Also when the block ends
            well, but another process took the lock over meanwhile: both may have written.
    """
    if store.is_local:
        with _kernel_lock(Path(store.base, layout.lock(name)), name):
            yield
    else:
        with _lease(store, name):
            yield


def _holder() -> dict[str, str | int | float]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}


@contextmanager
def _kernel_lock(path: Path, name: str) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _busy(name, file.read()) from None
        file.truncate(0)
        file.write(json.dumps(_holder()))
        file.flush()
        yield


@contextmanager
def _lease(store: Store, name: str) -> Generator[None]:
    lease = _Lease(store, name)
    lease.take()
    done = threading.Event()
    keeper = threading.Thread(target=lease.keep, args=(done,), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        was_kept = lease.give_back()
    if not was_kept:
        raise BusyError(
            name,
            "that another process took the lock over, which was not renewed in time",
            "no other writer",
            "Wait for that one to end, then run again.",
        )


@dataclass(frozen=True, slots=True)
class _Holder:
    """The content of a lease."""

    host: str
    pid: int
    since: float
    token: str


class _Lease:
    """A file that says who may write, and since when; only its own writer replaces or removes it.

    An expired one is replaced by the one process that holds a lease for doing so, whose name has
    the token of the expired one in it. If that process dies before it is done, its lease
    expires and is replaced in the same way.
    """

    def __init__(self, store: Store, name: str, suffix: str = "") -> None:
        self._store, self._name, self._suffix = store, name, suffix
        self._path = layout.lock(name + suffix)
        self._token = uuid.uuid4().hex

    def take(self) -> None:
        """Take it if it is free.

        Raises:
            BusyError: another process has it.
            SchemaError: its file is damaged.
        """
        holder = self._read()
        if holder is None:
            if self._store.create(self._path, self._content()):
                return
            holder = self._read()
            if self._is_own(holder):  # the first request arrived, its answer did not
                return
        if holder is None or time.time() - holder["since"] < LEASE_S:
            raise _busy(self._name, json.dumps(holder))
        self._replace(holder)

    def _replace(self, expired: dict[str, Any]) -> None:
        turn = _Lease(self._store, self._name, f"{self._suffix}.{expired['token']}")
        turn.take()
        try:
            holder = self._read()
            if holder != expired:  # renewed after all, or another's turn was before
                raise _busy(self._name, json.dumps(holder))
            self._write()
        finally:
            turn.give_back()

    def keep(self, done: threading.Event) -> None:
        """Renew it until done; end when it is another's, or ran out because renewing failed."""
        renewed = time.monotonic()
        while not done.wait(LEASE_S / 8):
            start = time.monotonic()
            try:
                if not self._is_own(self._read()):
                    logger.error("another process took the lock %s over", self._name)
                    return
                self._write()
                renewed = start
            except Exception as error:  # each back end has its own; none may end the thread
                logger.warning("the lock %s could not be renewed: %s", self._name, error)
                if time.monotonic() - renewed > LEASE_S:
                    logger.error("the lock %s ran out", self._name)  # noqa: TRY400
                    return

    def give_back(self) -> bool:
        """Remove it; False if it was another's in the meantime."""
        try:
            is_own = self._is_own(self._read())
            if is_own:
                self._store.delete(self._path)
        except Exception as error:  # each back end has its own; the work is done all the same
            logger.warning(
                "the lock %s could not be removed, in %.0f s it is free: %s",
                self._name,
                LEASE_S,
                error,
            )
            return True
        return is_own

    def _is_own(self, holder: dict[str, Any] | None) -> bool:
        return holder is not None and holder["token"] == self._token

    def _read(self) -> dict[str, Any] | None:
        try:
            content = self._store.read_bytes(self._path)
        except MissingArtifactError:
            return None
        where = self._store.uri(self._path)
        return asdict(parsed(content, _Holder, where, "Remove it if nothing works on the pool."))

    def _write(self) -> None:
        self._store.write_bytes(self._path, self._content())

    def _content(self) -> bytes:
        return json.dumps(_holder() | {"token": self._token}).encode()


def _busy(name: str, content: str) -> BusyError:
    try:
        holder = json.loads(content)
        who = f"process {holder['pid']} on {holder['host']} writing it"
    except (ValueError, LookupError, TypeError):  # it has the lock and has not yet said who it is
        who = "another process writing it"
    return BusyError(
        name, who, "no other writer", "Wait for it to end, or stop it, then run again."
    )
