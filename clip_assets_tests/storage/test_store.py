"""Files appear whole or not at all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import fsspec
import fsspec.config
import pytest

from clip_assets import layout
from clip_assets.errors import (
    LayoutVersionError,
    MissingArtifactError,
    StorageFullError,
    StoreError,
)
from clip_assets.storage.leftovers import sweep
from clip_assets.storage.store import Store


def published(store: Store) -> list[str]:
    return [path for path in store.list("") if path != layout.STORE]


def test_what_is_written_can_be_read(store: Store) -> None:
    store.write_bytes("a/b.bin", b"content")
    assert store.read_bytes("a/b.bin") == b"content"
    assert store.size("a/b.bin") == 7
    assert published(store) == ["a/b.bin"]
    with store.local("a/b.bin") as file:
        assert file.read_bytes() == b"content"


def test_failed_write_leaves_nothing(store: Store) -> None:
    with suppress(ZeroDivisionError), store.publish("a.bin") as part:
        part.write_bytes(b"half")
        _ = 1 // 0
    assert published(store) == []


def test_failed_rewrite_keeps_the_old_file(store: Store) -> None:
    store.write_bytes("a.bin", b"old")
    with suppress(ZeroDivisionError), store.publish("a.bin") as part:
        part.write_bytes(b"new, but half")
        _ = 1 // 0
    assert store.read_bytes("a.bin") == b"old"


def test_nothing_is_visible_before_the_block_ends(store: Store) -> None:
    with store.publish("a.bin") as part:
        part.write_bytes(b"content")
        assert not store.exists("a.bin")
    assert store.exists("a.bin")


def test_missing_file_names_its_producer(store: Store) -> None:
    path = layout.img_emb(layout.partition_key(0))
    told = f"Materialize {layout.EMBEDDINGS} first"
    with pytest.raises(MissingArtifactError, match=told):
        store.read_bytes(path)
    with pytest.raises(MissingArtifactError, match=told), store.local(path):
        pass


def test_missing_file_of_no_asset_is_blamed_on_the_root(store: Store) -> None:
    with pytest.raises(MissingArtifactError, match="Check the store's root"):
        store.read_bytes("x.npy")
    with pytest.raises(MissingArtifactError, match="Check the store's root"), store.local("x.npy"):
        pass


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete("nothing")
    assert published(store) == []


def test_many_files_are_read_at_once_without_those_that_are_missing(store: Store) -> None:
    store.write_bytes("a[1]/*.bin", b"one")
    store.write_bytes("b", b"two")
    found = store.read_many(["b", "nothing", "a[1]/*.bin"])
    assert list(found.items()) == [("b", b"two"), ("a[1]/*.bin", b"one")]
    assert store.read_many([]) == {}


def test_fault_is_not_taken_for_a_missing_file(local_store: Store) -> None:
    local_store.write_bytes("folder/file", b"")
    with pytest.raises(NotADirectoryError):
        local_store.read_many(["folder/file/below"])


@pytest.mark.parametrize("root", ["memory://pool", "gs://bucket/pool", "/tmp/pool"])
def test_listings_are_not_kept(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Google's client looks for credentials when it is made; this is one that asks nobody.
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    assert Store(root).fs.dircache.use_listings_cache is False


def mark(store: Store, **content: object) -> None:
    store.write_bytes(layout.STORE, json.dumps(content).encode())


def test_a_store_says_its_layout_and_who_can_read_it(store: Store) -> None:
    written = json.loads(store.read_bytes(layout.STORE))
    assert written.keys() == {"layout", "least_reader"}
    assert written["layout"] == layout.VERSION
    assert 1 <= written["least_reader"] <= layout.VERSION


def test_newer_store_is_read_where_its_files_mean_the_same(store: Store) -> None:
    store.write_bytes("a.bin", b"content")
    mark(store, layout=layout.VERSION + 3, least_reader=layout.VERSION)
    assert Store.open(store.uri()).read_bytes("a.bin") == b"content"
    written = json.loads(store.read_bytes(layout.STORE))
    assert written["layout"] == layout.VERSION + 3, "who only reads or adds leaves it as it is"


def test_newer_store_is_refused_where_its_files_mean_something_else(store: Store) -> None:
    newer = layout.VERSION + 1
    mark(store, layout=newer, least_reader=newer)
    with pytest.raises(LayoutVersionError, match=f"layout version {newer}.* newer release"):
        Store.open(store.uri())


def test_older_store_is_refused_where_nobody_reads_it_any_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "VERSION", 4)
    monkeypatch.setattr(layout, "OLDEST", 3)
    mark(store, layout=2, least_reader=1)
    with pytest.raises(LayoutVersionError, match=r"layout version 2.*version 3 to 4.*wrote this"):
        Store.open(store.uri())
    mark(store, layout=3, least_reader=1)
    assert Store.open(store.uri()).exists(layout.STORE)


def test_store_of_the_first_release_is_read_by_those_that_read_its_layout(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(store, layout=layout.VERSION)
    assert Store.open(store.uri()).exists(layout.STORE)
    mark(store, layout=layout.VERSION + 1)
    with pytest.raises(LayoutVersionError, match=f"layout version {layout.VERSION + 1}"):
        Store.open(store.uri())
    mark(store, layout=1)
    monkeypatch.setattr(layout, "OLDEST", 2)
    monkeypatch.setattr(layout, "VERSION", 2)
    with pytest.raises(LayoutVersionError, match="layout version 1"):
        Store.open(store.uri())


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"least_reader": 1}', b'{"layout": "one"}'])
def test_damaged_mark_of_a_store_is_told(store: Store, content: bytes) -> None:
    store.write_bytes(layout.STORE, content)
    with pytest.raises(StoreError, match="a damaged file"):
        Store.open(store.uri())


def test_store_is_opened_again_by_its_uri(store: Store) -> None:
    store.write_bytes("a.bin", b"content")
    assert Store.open(store.uri()).read_bytes("a.bin") == b"content"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A disk of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.fail(f"tests of a full disk must be able to mount a tmpfs: {mounted.stderr!r}")
    return disk


def test_full_disk_publishes_nothing_and_says_so(
    tiny_disk: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: subprocess.run(["umount", str(tiny_disk)], check=True))
    store = Store.open(str(tiny_disk / "pool"))
    store.write_bytes("a.bin", b"old")
    with pytest.raises(StorageFullError, match="Nothing was published"):
        store.write_bytes("a.bin", bytes(2 * 2**20))
    assert store.read_bytes("a.bin") == b"old"
    assert store.list(layout.TEMPORARY) == []


WRITER = """
import sys, time
from clip_assets.storage.store import Store
with Store.open(sys.argv[1]).publish("a.bin") as part:
    part.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_killed_writer_leaves_nothing_visible_and_is_swept(local_store: Store) -> None:
    command = [sys.executable, "-c", WRITER, local_store.base]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        assert sweep(local_store) == 0, "a living writer's file stays"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert not local_store.exists("a.bin")
    assert len(local_store.list(layout.TEMPORARY)) == 1
    assert sweep(local_store) == 1
    assert local_store.list(layout.TEMPORARY) == []


def test_what_another_machine_writes_is_not_swept(local_store: Store) -> None:
    here = socket.gethostname()
    local_store.write_bytes(f"{layout.TEMPORARY}/{here}-{2**31}-12-0123abcd-a.bin", b"half")
    local_store.write_bytes(f"{layout.TEMPORARY}/elsewhere-{2**31}-0123abcd-a.bin", b"half")
    assert sweep(local_store) == 0


def test_readers_never_see_a_half_written_file(local_store: Store) -> None:
    local_store.write_bytes("a.bin", bytes(2**20))
    command = [sys.executable, "-c", REWRITER, local_store.base]
    sizes: set[int] = set()
    with subprocess.Popen(command) as writer:
        while writer.poll() is None:
            sizes.add(len(local_store.read_bytes("a.bin")))
            time.sleep(0.001)
    assert sizes <= {2**20, 2**21}
    assert len(local_store.read_bytes("a.bin")) == 2**21


REWRITER = """
import sys
from clip_assets.storage.store import Store
store = Store.open(sys.argv[1])
for size in (20, 21) * 30:
    store.write_bytes("a.bin", bytes(2**size))
"""


def test_a_file_is_created_once(store: Store) -> None:
    assert store.create("a.txt", b"first")
    assert not store.create("a.txt", b"second")
    assert store.read_bytes("a.txt") == b"first"
