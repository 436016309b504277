"""Stages run once at a time, are skipped when current, and are done by their manifest."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import BusyError, CheckFailedError, SourceMissingError
from clip_assets.pool import stages
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.settings import Settings
from clip_assets.storage import locks, tables
from clip_assets.storage.manifests import UNFINISHED, Report
from clip_assets.storage.store import Store
from clip_assets_tests.pool.conftest import NewPool, asset

KEY = layout.partition_key(0)


def writing(*paths: str, rows: int = 1) -> Callable[[StageRun], Report]:
    def work(run: StageRun) -> Report:
        for path in paths:
            with run.publish(path) as part:
                part.write_bytes(path.encode())
        return Report(rows, rows)

    return work


def test_finished_stage_is_not_run_again(pool: Pool, new_pool: NewPool) -> None:
    first = materialize(pool, asset(plan="1"), KEY, writing("raw/a"))
    again = materialize(pool, asset(plan="1"), KEY, lambda _: pytest.fail("ran again"))
    assert (first.reused, again.reused) == (False, True)
    assert again.manifest == first.manifest == new_pool().catalog.get(layout.RAW_PAIRS, KEY)


def test_what_another_process_made_meanwhile_is_not_made_again(
    pool: Pool, new_pool: NewPool
) -> None:
    other = new_pool()
    assert asset(plan="1").state(other, KEY) == "missing"
    made = materialize(pool, asset(plan="1"), KEY, writing("raw/a"))
    late = materialize(other, asset(plan="1"), KEY, lambda _: pytest.fail("ran again"))
    assert late.reused
    assert late.manifest == made.manifest


def test_a_rerun_starts_from_what_another_process_made_meanwhile(
    pool: Pool, new_pool: NewPool
) -> None:
    materialize(pool, asset(plan="1"), KEY, writing("raw/a"))
    other = new_pool()
    assert asset(plan="1").state(other, KEY) == "done"
    newer = materialize(pool, asset(plan="1"), KEY, writing("raw/b"), again=True).manifest

    def keep_all(run: StageRun) -> Report:
        before = run.pool.renewed().catalog.require(run.asset.name, run.key)
        assert before == replace(newer, code_version=UNFINISHED)
        for output in before.outputs:
            run.keep(output)
        return Report(1, 1)

    kept = materialize(other, asset(plan="1"), KEY, keep_all, again=True)
    assert kept.manifest.outputs == newer.outputs


def test_it_is_run_again_on_request(pool: Pool) -> None:
    materialize(pool, asset(plan="1"), KEY, writing("raw/a"))
    again = materialize(pool, asset(plan="1"), KEY, writing("raw/b"), again=True)
    assert not again.reused
    assert [output.path for output in again.manifest.outputs] == ["raw/b"]


def test_files_stand_in_their_order_whenever_each_was_finished(pool: Pool) -> None:
    def paths(*written: str) -> list[str]:
        made = materialize(pool, asset(plan="1"), KEY, writing(*written), again=True)
        return [output.path for output in made.manifest.outputs]

    assert paths("raw/b", "raw/c") == paths("raw/c", "raw/b") == ["raw/b", "raw/c"]
    # What was made from them has its rows in this order: what is new is behind.
    assert paths("raw/d", "raw/c", "raw/a", "raw/b") == ["raw/b", "raw/c", "raw/a", "raw/d"]


@pytest.mark.parametrize("has_proc", [True, False])
def test_a_manifest_tells_the_peak_of_memory(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_proc: bool
) -> None:
    if not has_proc:
        monkeypatch.setattr(stages, "OWN_PROCESS", tmp_path / "none")
    outcome = materialize(pool, asset(), KEY, writing("raw/a"))
    assert 10 * 2**20 < outcome.manifest.peak_memory_bytes < 2**40


@pytest.mark.parametrize("changed", [asset(plan="2"), asset(version="2", plan="1")])
def test_other_inputs_or_code_run_it_again(pool: Pool, changed: Asset) -> None:
    materialize(pool, asset(plan="1"), KEY, writing("raw/a"))
    assert changed.state(pool, KEY) == "stale"
    outcome = materialize(pool, changed, KEY, writing("raw/a"))
    assert not outcome.reused
    assert changed.state(pool, KEY) == "done"


def test_files_of_the_last_run_that_are_no_longer_made_are_removed(pool: Pool) -> None:
    materialize(pool, asset(plan="1"), KEY, writing("raw/a", "raw/b"))
    materialize(pool, asset(plan="2"), KEY, writing("raw/b"))
    assert pool.store.list("raw") == ["raw/b"]


def test_failure_is_recorded_and_forgotten_after_success(pool: Pool) -> None:
    def fail(run: StageRun) -> Report:
        raise SourceMissingError("a.csv", "no file", "the planned file", "Restore it.")

    with pytest.raises(SourceMissingError):
        materialize(pool, asset(), KEY, fail)
    failure = pool.catalog.failure(layout.RAW_PAIRS, KEY)
    assert failure is not None
    assert failure.error == "SourceMissingError"
    assert asset().state(pool, KEY) == "failed"
    materialize(pool, asset(), KEY, writing("raw/a"))
    assert asset().state(pool, KEY) == "done"


def test_rows_that_do_not_add_up_stop_the_partition(pool: Pool) -> None:
    def lose_a_row(run: StageRun) -> Report:
        return Report(rows_in=3, rows_out=1, dropped={"duplicate": 1})

    with pytest.raises(CheckFailedError, match="1 rows out and"):
        materialize(pool, asset(), KEY, lose_a_row)
    assert pool.catalog.get(layout.RAW_PAIRS, KEY) is None


def test_rows_in_must_be_what_the_upstream_passed_on(pool: Pool) -> None:
    materialize(pool, asset(), KEY, writing("raw/a", rows=5))
    downstream = replace(asset(layout.UNIQUE_PAIRS), rows_from=layout.RAW_PAIRS)
    with pytest.raises(CheckFailedError, match="expected the 5 rows that raw_pairs passed on"):
        materialize(pool, downstream, KEY, writing("unique/a", rows=4))
    materialize(pool, downstream, KEY, writing("unique/a", rows=5))


def test_second_run_of_a_partition_at_once_is_refused(pool: Pool) -> None:
    with (
        locks.exclusive(pool.store, "raw_pairs/00000"),
        pytest.raises(BusyError, match="Wait for it to end"),
    ):
        materialize(pool, asset(), KEY, writing("raw/a"))
    assert pool.catalog.get(layout.RAW_PAIRS, KEY) is None
    assert pool.catalog.failure(layout.RAW_PAIRS, KEY) is None


KILLED = """
import os, signal, sys
from clip_assets import layout
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import materialize
from clip_assets.settings import Settings
from clip_assets.storage.store import Store
def work(run):
    with run.publish("raw/a") as part:
        part.write_bytes(b"a")
    os.kill(os.getpid(), signal.SIGKILL)
pool = Pool(Store.open(sys.argv[1]), Settings(), {})
asset = Asset(layout.RAW_PAIRS, "1", make=None, inputs=lambda pool, key: {})
materialize(pool, asset, layout.partition_key(0), work)
"""


def test_killed_stage_is_not_done_and_runs_again(local_store: Store) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, local_store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    pool = Pool(local_store, Settings(), {})
    assert asset().state(pool, KEY) == "missing"
    outcome = materialize(pool, asset(), KEY, writing("raw/a"))
    assert [output.path for output in outcome.manifest.outputs] == ["raw/a"]


def test_digest_follows_contents_not_times(pool: Pool) -> None:
    tar, stats = layout.shard_tar(KEY, 0), layout.shard_stats(KEY, 0)
    first = materialize(pool, asset(plan="1"), KEY, writing(tar, stats))
    again = materialize(pool, asset(plan="2"), KEY, writing(stats, tar))
    assert first.manifest.digest() == again.manifest.digest()
    assert first.manifest.digest(layout.shard_stats) != first.manifest.digest()
    of_stats = pool.catalog.digest(layout.RAW_PAIRS, KEY, layout.shard_stats)
    assert of_stats == first.manifest.digest(layout.shard_stats)
    assert pool.catalog.digest(layout.UNIQUE_PAIRS, KEY) == "absent"


def test_a_table_without_rows_leaves_none(pool: Pool) -> None:
    """Many readers of a folder fail at a table without rows."""

    def work(count: int) -> Callable[[StageRun], Report]:
        rows = (
            schemas.PAIR_KEYS.empty_table()
            if not count
            else pa.table({"hi": [1], "lo": [2], "row": [0]}, schema=schemas.PAIR_KEYS)
        )

        def write(run: StageRun) -> Report:
            with run.publish(layout.pair_keys(KEY)) as part:
                tables.write(part, rows)
            return Report(count, count)

        return write

    path = layout.pair_keys(KEY)
    for count in (0, 1, 0):
        made = materialize(pool, asset(plan=str(count)), KEY, work(count)).manifest
        assert [output.path for output in made.outputs] == [path] * count
        assert pool.store.exists(path) == bool(count)
        with tables.local(pool.store, made, layout.pair_keys) as file:
            assert pq.read_table(file).num_rows == count
            assert pq.read_schema(file) == schemas.PAIR_KEYS
    pool.store.write_bytes(path, b"a file that no manifest names")
    with tables.local(pool.store, made, layout.pair_keys) as file:
        assert pq.read_table(file).num_rows == 0


def test_interrupted_rerun_does_not_pass_for_the_old_one(pool: Pool, new_pool: NewPool) -> None:
    """Inputs change and change back; files of both must not be taken for a finished partition."""

    def half(run: StageRun) -> Report:
        with run.publish("raw/a") as part:
            part.write_bytes(b"of the new inputs")
        raise SourceMissingError("a.csv", "no file", "the planned file", "Restore it.")

    materialize(pool, asset(plan="1"), KEY, writing("raw/a", "raw/b"))
    with pytest.raises(SourceMissingError):
        materialize(pool, asset(plan="2"), KEY, half)
    later = new_pool()
    assert asset(plan="1").state(later, KEY) == "failed"
    outcome = materialize(later, asset(plan="1"), KEY, writing("raw/a", "raw/b"))
    assert not outcome.reused
    assert pool.store.read_bytes("raw/a") == b"raw/a"


def test_the_pool_that_a_rerun_failed_in_does_not_take_the_old_one_for_done(pool: Pool) -> None:
    materialize(pool, asset(plan="1"), KEY, writing("raw/a"))

    def fails(_: StageRun) -> Report:
        raise SourceMissingError("x", "nothing", "a file", "Look.")

    with pytest.raises(SourceMissingError):
        materialize(pool, asset(plan="1"), KEY, fails, again=True)
    assert not materialize(pool, asset(plan="1"), KEY, writing("raw/a")).reused
