"""One writer at a time."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clip_assets.errors import BusyError
from clip_assets.storage import locks
from clip_assets.storage.store import Store


def test_second_writer_is_refused_and_told_who_has_it(store: Store) -> None:
    with (
        locks.exclusive(store, "embeddings/00000"),
        pytest.raises(BusyError, match=f"process {os.getpid()} on "),
        locks.exclusive(store, "embeddings/00000"),
    ):
        pass


def test_lock_is_free_again_after_its_block(store: Store) -> None:
    for _ in range(2):
        with locks.exclusive(store, "embeddings/00000"):
            pass


def test_locks_of_different_names_do_not_meet(store: Store) -> None:
    with locks.exclusive(store, "embeddings/00000"), locks.exclusive(store, "embeddings/00001"):
        pass


HOLDER = """
import sys, time
from clip_assets.storage import locks
from clip_assets.storage.store import Store
with locks.exclusive(Store.open(sys.argv[1]), "x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_killed_holder_frees_the_lock(local_store: Store) -> None:
    command = [sys.executable, "-c", HOLDER, local_store.base]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BusyError, match=str(holder.pid)), locks.exclusive(local_store, "x"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with locks.exclusive(local_store, "x"):
        pass


EXPIRED = b'{"host": "gone", "pid": 1, "since": 0, "token": "other"}'


@pytest.mark.parametrize(
    "left",
    [
        pytest.param({"x"}, id="by a holder"),
        pytest.param({"x", "x.other"}, id="by a holder and one that was taking over"),
        pytest.param({"x", "x.other", "x.other.other"}, id="by a holder and two of those"),
    ],
)
def test_expired_lease_of_a_dead_holder_is_taken_over(left: set[str]) -> None:
    store = Store.open(f"memory://{uuid4().hex}")
    for name in left:
        store.write_bytes(f"locks/{name}.lock", EXPIRED)
    with locks.exclusive(store, "x"):
        assert b"gone" not in store.read_bytes("locks/x.lock")
        assert store.list("locks") == ["locks/x.lock"]
    assert store.list("locks") == []


class Halting(MemoryFileSystem):
    """Files in memory; the thread named "late" halts before one of its requests.

    A create is one step, as it is on an object store.
    """

    protocol = "halting"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    one_step = threading.Lock()
    halt_before = 0
    halted = threading.Event()
    go_on = threading.Event()
    requests = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("halting://", "memory://"))

    @classmethod
    def request(cls) -> None:
        if threading.current_thread().name == "late":
            cls.requests += 1
            if cls.requests == cls.halt_before:
                cls.halted.set()
                cls.go_on.wait()

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.request()
        return super().cat_file(path, start, end, **kwargs)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.request()
        with self.one_step:
            super().pipe_file(path, value, mode, **kwargs)

    def rm(self, path, recursive=False, maxdepth=None):
        self.request()
        super().rm(path, recursive, maxdepth)


@pytest.mark.parametrize("lease", [None, EXPIRED], ids=["free", "expired"])
@pytest.mark.parametrize("halt_before", range(1, 9))
def test_one_of_two_gets_a_lease_however_slow_a_request_is(
    monkeypatch: pytest.MonkeyPatch, lease: bytes | None, halt_before: int
) -> None:
    fsspec.register_implementation("halting", Halting, clobber=True)
    for name in ("halted", "go_on"):
        monkeypatch.setattr(Halting, name, threading.Event())
    monkeypatch.setattr(Halting, "halt_before", halt_before)
    monkeypatch.setattr(Halting, "requests", 0)
    store = Store.open(f"halting://{uuid4().hex}")
    if lease:
        store.write_bytes("locks/x.lock", lease)
    holders: list[str] = []
    both_tried = threading.Event()

    def hold() -> None:
        with suppress(BusyError), locks.exclusive(store, "x"):
            holders.append(threading.current_thread().name)
            Halting.halted.set()
            both_tried.wait()

    late, other = (threading.Thread(target=hold, name=name) for name in ("late", "other"))
    late.start()
    Halting.halted.wait()
    other.start()
    while other.is_alive() and "other" not in holders:
        time.sleep(0.01)
    Halting.go_on.set()
    while late.is_alive() and "late" not in holders:
        time.sleep(0.01)
    both_tried.set()
    late.join()
    other.join()
    assert len(holders) == 1
    assert store.list("locks") == []


class Echoing(MemoryFileSystem):
    """Files in memory; a create arrives twice, as when its answer was lost and it is sent again."""

    protocol = "echoing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("echoing://", "memory://"))

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value, mode, **kwargs)
        if mode == "create":
            super().pipe_file(path, value, mode, **kwargs)


def test_a_lease_whose_answer_was_lost_is_held() -> None:
    fsspec.register_implementation("echoing", Echoing, clobber=True)
    store = Store.open(f"echoing://{uuid4().hex}")
    with locks.exclusive(store, "x"):
        assert store.exists("locks/x.lock")
    assert store.list("locks") == []


SUCCESSOR = b'{"host": "other", "pid": 2, "since": 9e9, "token": "other"}'


class Flaky(MemoryFileSystem):
    """Files in memory; the next ``failures`` uploads fail."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if Flaky.failures:
            Flaky.failures -= 1
            raise RuntimeError("the bucket did not answer")
        super().pipe_file(path, value, mode, **kwargs)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An object store whose uploads can fail, with leases of two seconds."""
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(locks, "LEASE_S", 2.0)
    store = Store.open(f"flaky://{uuid4().hex}")
    yield store
    Flaky.failures = 0
    store.delete("")


def test_lease_is_renewed_again_after_failed_uploads(
    flaky: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_S", 10.0)  # longer than a busy machine is ever away
    with locks.exclusive(flaky, "x"):
        taken = flaky.read_bytes("locks/x.lock")
        Flaky.failures = 2
        while flaky.read_bytes("locks/x.lock") == taken:
            time.sleep(0.05)
        assert Flaky.failures == 0
        with pytest.raises(BusyError), locks.exclusive(flaky, "x"):
            pass
    assert not flaky.exists("locks/x.lock")


def test_lease_that_another_took_over_is_left_to_it_and_the_block_says_so(
    flaky: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def be_overtaken() -> None:
        with locks.exclusive(flaky, "x"):
            flaky.write_bytes("locks/x.lock", SUCCESSOR)
            time.sleep(0.6)  # more than two renewals
            assert flaky.read_bytes("locks/x.lock") == SUCCESSOR

    with pytest.raises(BusyError, match="took the lock over"):
        be_overtaken()
    assert flaky.read_bytes("locks/x.lock") == SUCCESSOR
    assert "another process took the lock x over" in caplog.text


def test_lost_lease_does_not_hide_the_error_of_the_block(flaky: Store) -> None:
    def be_overtaken_and_fail() -> None:
        with locks.exclusive(flaky, "x"):
            flaky.write_bytes("locks/x.lock", SUCCESSOR)
            _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        be_overtaken_and_fail()
    assert flaky.read_bytes("locks/x.lock") == SUCCESSOR


def test_lease_that_cannot_be_renewed_runs_out_but_nobody_needed_it(
    flaky: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with locks.exclusive(flaky, "x"):
        Flaky.failures = 10**6
        while "the lock x ran out" not in caplog.text:
            time.sleep(0.05)
    assert "the bucket did not answer" in caplog.text
    assert not flaky.exists("locks/x.lock")
