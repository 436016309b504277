"""Each finding is told, and nothing is changed."""

from pathlib import Path

import dagster as dg
import pytest

from clip_assets import devices, doctor, layout
from clip_assets.doctor import Finding
from clip_assets.storage.manifests import Failure
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster instance of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def found(store: Store, subject: str, **settings: str) -> Finding:
    pool = MadeUp(store, **settings).pool
    (finding,) = (f for f in doctor.examine(pool) if f.subject == subject)
    return finding


def test_new_pool_is_good_and_stays_as_it_is(local_store: Store) -> None:
    findings = doctor.examine(MadeUp(local_store, devices="none").pool)
    assert {f.subject for f in findings} >= {"store", "pool", "dagster", "accelerators"}
    assert [f for f in findings if not f.is_good and f.subject != "disk"] == []
    assert local_store.list("") == [layout.STORE]


def test_instance_of_dagster_home_keeps_events(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not kept" not in found(local_store, "dagster").text
    monkeypatch.delenv("DAGSTER_HOME")
    assert "not kept" in found(local_store, "dagster").text


def test_devices_that_are_not_there_are_named(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    finding = found(local_store, "accelerators", devices="0,9")
    assert not finding.is_good
    assert "0, 9" in finding.text


def test_store_that_cannot_be_written_is_bad(local_store: Store) -> None:
    Path(local_store.base, layout.TEMPORARY).rmdir()
    Path(local_store.base, layout.TEMPORARY).write_text("a file where a folder belongs")
    finding = found(local_store, "store")
    assert not finding.is_good
    assert "cannot be written" in finding.text


def test_unregistered_partitions_are_told(local_store: Store) -> None:
    MadeUp(local_store).plan(0)
    finding = found(local_store, "dagster")
    assert not finding.is_good
    assert "clip-assets run" in finding.text


def test_keys_that_only_dagster_has_are_named(local_store: Store) -> None:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("pool_partition", ["foo"])
        instance.add_dynamic_partitions("subset", ["no_filter", "bar"])
    finding = found(local_store, "dagster")
    assert not finding.is_good
    assert "no 'foo', 'bar'" in finding.text


def test_failed_partitions_are_named(local_store: Store) -> None:
    made = MadeUp(local_store)
    made.plan(0, 1)
    failure = Failure("SourceError", "gone", "2026-01-01")
    made.pool.catalog.put_failure(layout.RAW_PAIRS, layout.partition_key(1), failure)
    good, bad = (f for f in doctor.examine(made.pool) if f.subject == "pool")
    assert good.text == "2 partitions"
    assert (bad.is_good, bad.text) == (False, "1 partitions failed: 00001 (clip-assets status)")
