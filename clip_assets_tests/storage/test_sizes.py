"""What a reader is held to, and what a look at folders costs."""

from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.layout import Key
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import UNFINISHED, Manifest, Output, Report
from clip_assets.storage.sizes import listed
from clip_assets.storage.store import Store
from clip_assets_tests.servers import Bucket

P = Key("00000")
RAW = layout.raw(P)


def record(store: Store, size: int, code_version: str = "1") -> None:
    """Say in a manifest how long a partition's pairs are."""
    output = Output(RAW, size, "0" * 64)
    made = Manifest(layout.RAW_PAIRS, P, code_version, {}, [output], Report(1, 1), 1.0, 1, "")
    Catalog(store).put(made)


def test_who_knows_the_manifest_is_held_to_its_sizes(store: Store) -> None:
    store.write_bytes(RAW, b"12345")
    record(store, 6)
    with pytest.raises(DamagedError, match=r"5 bytes, expected 6 bytes.*verify --repair"):
        store.read_bytes(RAW)
    with pytest.raises(DamagedError, match=RAW), store.local(RAW):
        pass
    record(store, 5)
    assert store.read_bytes(RAW) == b"12345"


def test_what_a_manifest_names_is_gone_and_not_yet_to_be_made(store: Store) -> None:
    with pytest.raises(MissingArtifactError, match="Materialize"):
        store.read_bytes(RAW)
    record(store, 5)
    with pytest.raises(DamagedError, match=r"no file, expected 5 bytes.*verify --repair"):
        store.read_bytes(RAW)
    with pytest.raises(DamagedError, match=RAW), store.local(RAW):
        pass


def test_what_is_replaced_has_the_size_that_it_has(store: Store) -> None:
    store.write_bytes(RAW, b"12345")
    record(store, 5)
    store.write_bytes(RAW, b"123")
    assert store.read_bytes(RAW) == b"123"
    record(store, 5)
    store.delete(RAW)
    with pytest.raises(MissingArtifactError):
        store.read_bytes(RAW)


def test_files_of_a_killed_run_have_the_size_that_they_have(store: Store) -> None:
    store.write_bytes(RAW, b"12345")
    record(store, 6)
    record(store, 6, UNFINISHED)
    assert store.read_bytes(RAW) == b"12345"


def test_folders_are_listed_with_sizes_and_without_folders_in_them(store: Store) -> None:
    for path in ("a/1", "a/2", "a/b/3", "c/4"):
        store.write_bytes(path, path[-1].encode() * int(path[-1]))
    assert listed(store, ["a", "c", "d"]) == {"a/1": 1, "a/2": 2, "c/4": 4}


@pytest.mark.slow
def test_folders_of_buckets_are_listed_too(bucket: Bucket) -> None:
    store = Store.open(bucket.url)
    for number in range(6):
        store.write_bytes(f"a/{number % 2}/{number}", b"1" * number)
    sizes = listed(store, ["a", "a/0", "a/1"])
    assert sizes == {f"a/{number % 2}/{number}": number for number in range(6)}


def test_a_size_is_asked_before_a_file_is_read(local_store: Store) -> None:
    local_store.write_bytes(RAW, b"12345")
    record(local_store, 5)
    with Path(local_store.base, RAW).open("r+b") as file:
        file.truncate(2)
    with pytest.raises(DamagedError, match=r"found 2 bytes, expected 5 bytes"):
        local_store.checked_size(RAW)
