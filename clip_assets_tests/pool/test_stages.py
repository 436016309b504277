"""Stages run once at a time, are skipped when current, and are done by their manifest."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.errors import BusyError, CheckFailedError, SourceMissingError
from clip_assets.pool import stages
from clip_assets.pool.stages import Stage, StageRun, materialize
from clip_assets.storage import locks
from clip_assets.storage.manifests import Catalog, Report, read_failure
from clip_assets.storage.store import Store

KEY = layout.partition_key(0)
STAGE = Stage("raw_pairs", "1")


def writing(*paths: str, rows: int = 1):
    def work(run: StageRun) -> Report:
        for path in paths:
            with run.publish(path) as part:
                part.write_bytes(path.encode())
        return Report(rows, rows)

    return work


def test_finished_stage_is_not_run_again(catalog: Catalog) -> None:
    first = materialize(catalog, STAGE, KEY, {"plan": "1"}, writing("raw/a"))
    again = materialize(catalog, STAGE, KEY, {"plan": "1"}, lambda _: pytest.fail("ran again"))
    assert (first.reused, again.reused) == (False, True)
    assert again.manifest == first.manifest == Catalog(catalog.store).get("raw_pairs", KEY)


@pytest.mark.parametrize("has_proc", [True, False])
def test_a_manifest_tells_the_peak_of_memory(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_proc: bool
) -> None:
    if not has_proc:
        monkeypatch.setattr(stages, "OWN_PROCESS", tmp_path / "none")
    outcome = materialize(catalog, STAGE, KEY, {}, writing("raw/a"))
    assert 10 * 2**20 < outcome.manifest.peak_memory_bytes < 2**40


@pytest.mark.parametrize("change", [{"inputs": {"plan": "2"}}, {"stage": Stage("raw_pairs", "2")}])
def test_other_inputs_or_code_run_it_again(catalog: Catalog, change: dict) -> None:
    materialize(catalog, STAGE, KEY, {"plan": "1"}, writing("raw/a"))
    call = {"stage": STAGE, "inputs": {"plan": "1"}} | change
    state = catalog.state("raw_pairs", KEY, call["stage"].version, call["inputs"])
    assert state == "stale"
    outcome = materialize(catalog, call["stage"], KEY, call["inputs"], writing("raw/a"))
    assert not outcome.reused


def test_files_of_the_last_run_that_are_no_longer_made_are_removed(catalog: Catalog) -> None:
    materialize(catalog, STAGE, KEY, {"plan": "1"}, writing("raw/a", "raw/b"))
    materialize(catalog, STAGE, KEY, {"plan": "2"}, writing("raw/b"))
    assert catalog.store.list("raw") == ["raw/b"]


def test_failure_is_recorded_and_forgotten_after_success(catalog: Catalog) -> None:
    def fail(run: StageRun) -> Report:
        raise SourceMissingError("a.csv", "no file", "the planned file", "Restore it.")

    with pytest.raises(SourceMissingError):
        materialize(catalog, STAGE, KEY, {}, fail)
    failure = read_failure(catalog.store, "raw_pairs", KEY)
    assert failure is not None
    assert failure.error == "SourceMissingError"
    assert catalog.state("raw_pairs", KEY, "1", {}) == "failed"
    materialize(catalog, STAGE, KEY, {}, writing("raw/a"))
    assert catalog.state("raw_pairs", KEY, "1", {}) == "done"


def test_rows_that_do_not_add_up_stop_the_partition(catalog: Catalog) -> None:
    def lose_a_row(run: StageRun) -> Report:
        return Report(rows_in=3, rows_out=1, dropped={"duplicate": 1})

    with pytest.raises(CheckFailedError, match="1 rows out and"):
        materialize(catalog, STAGE, KEY, {}, lose_a_row)
    assert catalog.get("raw_pairs", KEY) is None


def test_rows_in_must_be_what_the_upstream_passed_on(catalog: Catalog) -> None:
    materialize(catalog, STAGE, KEY, {}, writing("raw/a", rows=5))
    downstream = Stage("unique_pairs", "1", rows_from="raw_pairs")
    with pytest.raises(CheckFailedError, match="expected the 5 rows that raw_pairs passed on"):
        materialize(catalog, downstream, KEY, {}, writing("unique/a", rows=4))
    materialize(catalog, downstream, KEY, {}, writing("unique/a", rows=5))


def test_second_run_of_a_partition_at_once_is_refused(catalog: Catalog) -> None:
    with (
        locks.exclusive(catalog.store, "raw_pairs/00000"),
        pytest.raises(BusyError, match="Wait for it to end"),
    ):
        materialize(catalog, STAGE, KEY, {}, writing("raw/a"))
    assert catalog.get("raw_pairs", KEY) is None
    assert read_failure(catalog.store, "raw_pairs", KEY) is None


KILLED = """
import os, signal, sys
from clip_assets import layout
from clip_assets.storage.manifests import Catalog
from clip_assets.pool.stages import Stage, materialize
from clip_assets.storage.store import Store
def work(run):
    with run.publish("raw/a") as part:
        part.write_bytes(b"a")
    os.kill(os.getpid(), signal.SIGKILL)
catalog = Catalog(Store.open(sys.argv[1]))
materialize(catalog, Stage("raw_pairs", "1"), layout.partition_key(0), {}, work)
"""


def test_killed_stage_is_not_done_and_runs_again(local_store: Store) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, local_store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    catalog = Catalog(local_store)
    assert catalog.state("raw_pairs", KEY, "1", {}) == "missing"
    outcome = materialize(catalog, STAGE, KEY, {}, writing("raw/a"))
    assert [output.path for output in outcome.manifest.outputs] == ["raw/a"]


def test_digest_follows_contents_not_times(catalog: Catalog) -> None:
    first = materialize(catalog, STAGE, KEY, {"plan": "1"}, writing("raw/a", "raw/b.tar"))
    again = materialize(catalog, STAGE, KEY, {"plan": "2"}, writing("raw/b.tar", "raw/a"))
    assert first.manifest.digest() == again.manifest.digest()
    assert first.manifest.digest(".tar") != first.manifest.digest()
    assert catalog.digest("raw_pairs", KEY, ".tar") == first.manifest.digest(".tar")
    assert catalog.digest("unique_pairs", KEY) == "absent"


def test_interrupted_rerun_does_not_pass_for_the_old_one(catalog: Catalog) -> None:
    """Inputs change and change back; files of both must not be taken for a finished partition."""

    def half(run: StageRun) -> Report:
        with run.publish("raw/a") as part:
            part.write_bytes(b"of the new inputs")
        raise SourceMissingError("a.csv", "no file", "the planned file", "Restore it.")

    materialize(catalog, STAGE, KEY, {"plan": "1"}, writing("raw/a", "raw/b"))
    with pytest.raises(SourceMissingError):
        materialize(catalog, STAGE, KEY, {"plan": "2"}, half)
    later = Catalog(catalog.store)
    assert later.state("raw_pairs", KEY, "1", {"plan": "1"}) == "failed"
    outcome = materialize(later, STAGE, KEY, {"plan": "1"}, writing("raw/a", "raw/b"))
    assert not outcome.reused
    assert catalog.store.read_bytes("raw/a") == b"raw/a"
