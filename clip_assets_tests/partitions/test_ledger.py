"""Every source row is in exactly one partition, whatever happens while it is planned."""

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clip_assets.errors import BusyError
from clip_assets.partitions.ledger import PartitionPlan, add_sources, plans
from clip_assets.settings import SourceSettings
from clip_assets.storage import locks
from clip_assets.storage.store import Store

Write = Callable[..., str]
SMALL = SourceSettings(rows_per_partition=100)


def shape(found: Sequence[PartitionPlan]) -> dict[str, list[tuple[str, int | None, int | None]]]:
    """Partition to (file name, first row group, row groups)."""
    return {
        plan.partition: [
            (Path(item.uri).name, item.first_row_group, item.row_groups) for item in plan.ranges
        ]
        for plan in found
    }


def test_small_files_share_a_partition(store: Store, csv_of: Write) -> None:
    paths = [csv_of(f"{name}.csv", 30) for name in "abcde"]
    added = add_sources(store, paths, SMALL)
    assert [[item[0] for item in items] for items in shape(added.plans).values()] == [
        ["a.csv", "b.csv", "c.csv"], ["d.csv", "e.csv"],
    ]  # fmt: skip
    assert plans(store) == list(added.plans)


def test_a_large_parquet_file_is_split_by_row_groups(store: Store, parquet_of: Write) -> None:
    added = add_sources(store, [parquet_of("a.parquet", 250, 30)], SMALL)
    assert shape(added.plans) == {
        "00000": [("a.parquet", 0, 3)],
        "00001": [("a.parquet", 3, 3)],
        "00002": [("a.parquet", 6, 3)],
    }
    assert [plan.ranges[0].rows for plan in added.plans] == [90, 90, 70]


def test_parquet_rows_are_known_and_csv_rows_estimated(
    store: Store, csv_of: Write, parquet_of: Write
) -> None:
    add_sources(store, [csv_of("a.csv", 30), parquet_of("b.parquet", 30, 100)], SMALL)
    [plan] = plans(store)
    a, b = plan.ranges
    assert (a.rows, b.rows, b.estimated_rows) == (None, 30, 30)
    assert 28 <= a.estimated_rows <= 32


def test_adding_again_adds_nothing(store: Store, csv_of: Write, parquet_of: Write) -> None:
    paths = [csv_of("a.csv", 30), parquet_of("b.parquet", 250, 30)]
    first = add_sources(store, paths, SMALL)
    second = add_sources(store, paths, SMALL)
    assert (second.plans, second.unchanged, second.changed) == ((), 2, ())
    assert plans(store) == list(first.plans)


def test_new_files_get_new_keys_in_order_of_arrival(store: Store, csv_of: Write) -> None:
    add_sources(store, [csv_of("z.csv", 10)], SMALL)
    added = add_sources(store, [str(Path(csv_of("a.csv", 10)).parent)], SMALL)
    assert shape(added.plans) == {"00001": [("a.csv", None, None)]}


def test_a_dry_run_writes_nothing(store: Store, csv_of: Write) -> None:
    added = add_sources(store, [csv_of("a.csv", 10)], SMALL, dry_run=True)
    assert len(added.plans) == 1
    assert plans(store) == []


def test_a_changed_file_is_told_and_its_plan_left_alone(store: Store, csv_of: Write) -> None:
    path = csv_of("a.csv", 10)
    before = add_sources(store, [path], SMALL).plans
    csv_of("a.csv", 11)
    added = add_sources(store, [path], SMALL)
    assert (added.changed, added.plans, added.refreshed) == ((path,), (), ())
    assert plans(store) == list(before)


def test_refresh_plans_a_changed_file_in_its_partition(store: Store, csv_of: Write) -> None:
    paths = [csv_of("a.csv", 10), csv_of("b.csv", 10)]
    before = add_sources(store, paths, SMALL).plans[0]
    csv_of("a.csv", 11)
    added = add_sources(store, paths, SMALL, refresh=True)
    (after,) = plans(store)
    assert added.refreshed == (after,)
    assert (added.plans, added.changed) == ((), ())
    assert shape([after]) == shape([before])
    assert after.digest() != before.digest()
    assert after.ranges[1] == before.ranges[1]


@pytest.mark.parametrize(("rows", "expected"), [(90, [3, 0, 0, 0]), (390, [3, 3, 3, 3, 1])])
def test_refresh_of_a_split_file_keeps_its_partitions(
    store: Store, parquet_of: Write, rows: int, expected: list[int]
) -> None:
    path = parquet_of("a.parquet", 350, 30)
    add_sources(store, [path], SMALL)
    parquet_of("a.parquet", rows, 30)
    add_sources(store, [path], SMALL, refresh=True)
    found = [sum(item.row_groups or 0 for item in plan.ranges) for plan in plans(store)]
    assert found == expected


def test_missing_files_are_told(store: Store, csv_of: Write) -> None:
    paths = [csv_of("a.csv", 10), csv_of("b.csv", 10)]
    folder = str(Path(paths[0]).parent)
    add_sources(store, [folder], SMALL)
    Path(paths[0]).unlink()
    assert add_sources(store, [folder], SMALL).missing == (paths[0],)


def test_refresh_leaves_out_files_that_are_gone(store: Store, csv_of: Write) -> None:
    paths = [csv_of("a.csv", 10), csv_of("b.csv", 10)]
    folder = str(Path(paths[0]).parent)
    (before,) = add_sources(store, [folder], SMALL).plans
    Path(paths[0]).unlink()
    added = add_sources(store, [folder], SMALL, refresh=True)
    (after,) = plans(store)
    assert (added.missing, added.refreshed) == ((), (after,))
    assert after.ranges == before.ranges[1:]


def test_a_file_that_cannot_be_opened_gets_a_partition_of_its_own(
    store: Store, csv_of: Write, tmp_path: Path
) -> None:
    broken = tmp_path / "sources" / "b.parquet"
    paths = [csv_of("a.csv", 10), str(broken), csv_of("c.csv", 10)]
    broken.write_text("no parquet")
    added = add_sources(store, paths, SMALL)
    assert [items[0][0] for items in shape(added.plans).values()] == ["a.csv", "b.parquet", "c.csv"]


def test_two_adders_exclude_each_other(local_store: Store, csv_of: Write) -> None:
    path = csv_of("a.csv", 10)
    with locks.exclusive(local_store, "ledger"), pytest.raises(BusyError):
        add_sources(local_store, [path], SMALL)
    assert plans(local_store) == []


ADD_AND_DIE = """
import os, signal, sys
from clip_assets.partitions import ledger
from clip_assets.settings import SourceSettings
from clip_assets.storage.store import Store
left = int(sys.argv[3])
class Dying(Store):
    def write_bytes(self, path, content):
        global left
        if path.startswith("partitions/"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        super().write_bytes(path, content)
options = SourceSettings(rows_per_partition=100)
ledger.add_sources(Dying(sys.argv[1]), [sys.argv[2]], options, refresh=True)
"""


@pytest.mark.parametrize("written", range(5))
def test_a_kill_between_two_plans_loses_and_repeats_nothing(
    local_store: Store, csv_of: Write, parquet_of: Write, written: int
) -> None:
    folder = str(Path(csv_of("a.csv", 90)).parent)
    parquet_of("b.parquet", 250, 30)
    csv_of("c.csv", 90)
    whole = add_sources(local_store, [folder], SMALL, dry_run=True).plans
    command = [sys.executable, "-c", ADD_AND_DIE, local_store.base, folder, str(written)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert plans(local_store) == list(whole[:written])
    add_sources(local_store, [folder], SMALL)
    assert plans(local_store) == list(whole)


def test_the_estimate_of_a_compressed_file_is_close(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    lines = [f"http://host/{os.urandom(8).hex()},caption {row}" for row in range(50_000)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    (plan,) = add_sources(store, [str(path)], SourceSettings()).plans
    assert 40_000 < plan.ranges[0].estimated_rows < 60_000
