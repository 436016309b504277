"""Pools whose root is a folder of a bucket, through the real protocols."""

import json
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.dedup.unique_pairs import unique_pairs
from clip_assets.errors import BusyError, MissingArtifactError, SourceFormatError, StoreError
from clip_assets.pairs.raw_pairs import RAW_PAIRS, raw_pairs
from clip_assets.partitions.ledger import add_sources, plans
from clip_assets.settings import SourceSettings
from clip_assets.storage import locks
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store
from clip_assets_tests.servers import Bucket
from clip_assets_tests.upstream import MadeUp

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")  # gcsfs's own


EXPIRED = b'{"host": "gone", "pid": 1, "since": 0, "token": "other"}'


@pytest.fixture
def root(bucket: Bucket) -> str:
    return bucket.url


@pytest.fixture
def store(root: str) -> Store:
    return Store.open(root)


def test_a_pool_is_made_in_a_bucket_and_opened_again(store: Store, root: str) -> None:
    assert json.loads(Store.open(root, create=False).read_bytes(layout.STORE))
    with pytest.raises(StoreError, match="no pool"):
        Store.open(f"{root}/elsewhere", create=False)
    with pytest.raises(StoreError):
        Store.open(f"{root.split('://')[0]}://nobody/pool")


def test_files_are_published_whole_listed_and_removed(store: Store) -> None:
    with suppress(ZeroDivisionError), store.publish("a/b.bin") as part:
        part.write_bytes(b"half" * (1 // 0))
    assert not store.exists("a/b.bin")
    content = bytes(range(256)) * 20_000
    with store.publish("a/b.bin") as part:
        part.write_bytes(content)
    store.write_bytes("a/c [1]*.txt", b"odd name")
    store.write_bytes("a/deep/d.txt", b"")
    assert store.list("a") == ["a/b.bin", "a/c [1]*.txt", "a/deep/d.txt"]
    assert store.list("nothing") == []
    assert (store.size("a/b.bin"), store.exists("a"), store.exists("a/none")) == (
        5_120_000,
        False,
        False,
    )
    with store.local("a/b.bin") as file:
        assert file.read_bytes() == content
    assert store.read_many(["a/c [1]*.txt", "a/none"]) == {"a/c [1]*.txt": b"odd name"}
    store.write_bytes("a/b.bin", b"new")
    assert store.read_bytes("a/b.bin") == b"new"
    with pytest.raises(MissingArtifactError):
        store.read_bytes("a/none")
    store.delete("a/deep")
    store.delete("a/none")
    assert store.list("a") == ["a/b.bin", "a/c [1]*.txt"]


def test_a_lock_in_a_bucket_excludes_and_is_given_back(store: Store, root: str) -> None:
    with (
        locks.exclusive(store, "ledger"),
        pytest.raises(BusyError, match="ledger"),
        locks.exclusive(Store.open(root), "ledger"),
    ):
        pass
    assert store.list("locks") == []


def test_a_file_in_a_bucket_is_created_once(store: Store) -> None:
    assert store.create("a.txt", b"first")
    assert not store.create("a.txt", b"second")
    assert store.read_bytes("a.txt") == b"first"
    store.delete("a.txt")
    assert store.create("a.txt", b"third")


def test_an_expired_lease_in_a_bucket_is_replaced(store: Store) -> None:
    store.write_bytes("locks/x.lock", EXPIRED)
    with locks.exclusive(store, "x"):
        assert json.loads(store.read_bytes("locks/x.lock"))["host"] != "gone"
        assert store.list("locks") == ["locks/x.lock"]
    assert store.list("locks") == []


def test_pairs_are_read_and_made_unique_in_a_bucket(
    store: Store, root: str, bucket: Bucket, tmp_path: Path
) -> None:
    rows = [f"http://x/{number % 900},caption" for number in range(1000)]
    bucket.put("sources/a.csv", "\n".join(["url,caption", *rows]).encode())
    (tmp_path / "b.csv").write_text(
        "\n".join(["url,caption", *rows[:10], "http://y/1,new", ",no url"])
    )
    options = SourceSettings(rows_per_partition=100)
    add_sources(store, [f"{root}/sources"], options)
    add_sources(store, [str(tmp_path)], options)
    keys = [plan.partition for plan in plans(Store.open(root))]
    made = MadeUp(Store.open(root), sources=options)
    reports = [raw_pairs(made.pool, key).manifest.report for key in keys]
    assert [(report.rows_in, report.rows_out) for report in reports] == [(1000, 1000), (12, 11)]
    kept = [unique_pairs(made.pool, key).manifest.report for key in keys]
    assert [report.rows_out for report in kept] == [900, 1]
    with Store.open(root).local(layout.unique(keys[1])) as file:
        assert pq.read_table(file)["url"].to_pylist() == ["http://y/1"]
    pool = made.pool
    pool.catalog.preload(RAW_PAIRS.name, keys)
    assert raw_pairs(pool, keys[0]).reused
    assert store.list("work") == []


def test_a_failure_is_recorded_in_a_bucket(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("no,urls\n1,2\n")
    (plan,) = add_sources(store, [str(tmp_path / "a.csv")], SourceSettings()).plans
    with pytest.raises(SourceFormatError):
        raw_pairs(MadeUp(store).pool, plan.partition)
    assert Catalog(store).failure(RAW_PAIRS.name, plan.partition) is not None
    assert RAW_PAIRS.state(MadeUp(store).pool, plan.partition) == "failed"
