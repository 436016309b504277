"""One writer at a time for one thing, across processes.

On a local store the lock is the kernel's: it cannot outlive its process, whatever kills it.
On an object store it is a lease that its holder renews; a holder that dies, or that cannot
reach the store, loses it after ``LEASE_S``. Published files are whole either way; a lock
spares work and mixed shards, it does not guard single files.
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
from pathlib import Path
from typing import Any

from clip_assets import layout
from clip_assets.errors import BusyError, MissingArtifactError
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


class _Lease:
    """A file that says who may write, and since when; only its own writer replaces or removes it.

    A look and the write or removal after it are two requests, which nothing joins.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._path = layout.lock(name)
        self._token = uuid.uuid4().hex

    def take(self) -> None:
        """Take it if it is free.

        Raises:
            BusyError: another process has it.
        """
        found = self._read()
        if found and time.time() - found["since"] < LEASE_S:
            raise _busy(self._name, json.dumps(found))
        self._write()
        # Of two that saw it free, the later write wins; both look again.
        time.sleep(0.5)
        found = self._read()
        if not self._is_own(found):
            raise _busy(self._name, json.dumps(found))

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

    def _is_own(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found["token"] == self._token

    def _read(self) -> dict[str, Any] | None:
        try:
            return json.loads(self._store.read_bytes(self._path))
        except MissingArtifactError:
            return None

    def _write(self) -> None:
        content = json.dumps(_holder() | {"token": self._token})
        self._store.write_bytes(self._path, content.encode())


def _busy(name: str, content: str) -> BusyError:
    try:
        holder = json.loads(content)
        who = f"process {holder['pid']} on {holder['host']} writing it"
    except (ValueError, LookupError, TypeError):  # it has the lock and has not yet said who it is
        who = "another process writing it"
    return BusyError(
        name, who, "no other writer", "Wait for it to end, or stop it, then run again."
    )
