"""Many partitions are compared in few passes, and nothing stale is used."""

from typing import Any

import pytest

from clip_assets import layout
from clip_assets.dedup import keys
from clip_assets.dedup.unique_pairs import unique_pairs
from clip_assets.layout import PartitionKey
from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import Sources
from clip_assets.storage import locks
from clip_assets.storage.store import Store

Pool = Any


def rows(*numbers: int) -> list[tuple[str, str]]:
    return [(f"http://x/{number}", "") for number in numbers]


def run(pool: Pool, partition: PartitionKey) -> None:
    unique_pairs(pool.catalog, partition, pool.earlier(partition))


def overlapping(pool: Pool, partitions: int) -> None:
    """Partition n has rows n, n + 1, n + 2: the first has three new ones, the others one."""
    for number in range(partitions):
        pool.add(rows(number, number + 1, number + 2))


def left(pool: Pool) -> list[PartitionKey]:
    return [key for key in pool.keys if pool.store.exists(layout.owners(key))]


def test_a_run_takes_as_many_companions_along_as_it_has_earlier_partitions(
    local_pool: Pool,
) -> None:
    overlapping(local_pool, 8)
    taken: list[int] = []
    for key in local_pool.keys:
        before = set(left(local_pool))
        run(local_pool, key)
        taken.append(len(set(left(local_pool)) - before))
    assert taken == [0, 0, 1, 0, 3, 0, 0, 0]
    assert [local_pool.unique_rows(key) for key in local_pool.keys] == [
        rows(0, 1, 2), *(rows(number + 2) for number in range(1, 8)),
    ]  # fmt: skip


def test_the_keys_of_a_pool_are_read_a_bounded_number_of_times(
    local_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(local_pool, 20)
    read: list[int] = []
    compare = keys.first_owners

    def counting(run: Any, earlier: Any, targets: Any) -> Any:
        read.append(len(earlier) + len(targets))
        return compare(run, earlier, targets)

    monkeypatch.setattr("clip_assets.dedup.passes.first_owners", counting)
    for key in local_pool.keys:
        run(local_pool, key)
    assert sum(read) <= 4 * len(local_pool.keys)


def test_what_a_pass_left_is_not_used_when_earlier_keys_changed(pool: Pool) -> None:
    overlapping(pool, 6)
    run(pool, pool.keys[3])
    assert left(pool) == pool.keys[4:]
    pool.store.delete(layout.manifest("raw_pairs", pool.keys[0]))
    (pool.folder / "00000.csv").write_text("url,caption\nhttp://x/5,\n")
    add_sources(pool.store, [str(pool.folder / "00000.csv")], Sources(), refresh=True)
    pool.make_raw(pool.keys[0])
    run(pool, pool.keys[4])
    assert pool.unique_rows(pool.keys[4]) == rows(6)


def test_while_another_process_makes_a_pass_a_partition_goes_alone(local_pool: Pool) -> None:
    overlapping(local_pool, 6)
    with locks.exclusive(local_pool.store, "unique_pairs/pass"):
        run(local_pool, local_pool.keys[3])
    assert left(local_pool) == []
    assert local_pool.unique_rows(local_pool.keys[3]) == rows(5)


def test_no_companion_is_taken_from_behind_a_partition_that_is_done(local_pool: Pool) -> None:
    for number in (0, 1, 2, 3, 9, 9):
        local_pool.add(rows(number))
    for place in (3, 4, 2, 5):
        run(local_pool, local_pool.keys[place])
    assert local_pool.unique_rows(local_pool.keys[4]) == rows(9)
    assert local_pool.unique_rows(local_pool.keys[5]) == []


def test_nothing_is_left_when_every_partition_is_done(local_pool: Pool) -> None:
    overlapping(local_pool, 7)
    for key in local_pool.keys:
        run(local_pool, key)
    assert local_pool.store.list("work") == []


def test_slices_cover_every_key_once(local_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SLICE_KEYS", 7)
    for number in range(4):
        local_pool.add(rows(*range(number * 10, number * 10 + 40)))
    for key in local_pool.keys:
        run(local_pool, key)
    found = [row for key in local_pool.keys for row in local_pool.unique_rows(key)]
    assert found == rows(*range(70))


def test_the_manifests_of_other_partitions_are_read_together(
    local_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(local_pool, 12)
    read: list[str] = []
    read_bytes = Store.read_bytes

    def counting(store: Store, path: str, producer: str = "") -> bytes:
        read.append(path)
        return read_bytes(store, path, producer)

    monkeypatch.setattr(Store, "read_bytes", counting)
    chosen = local_pool.keys[6]
    run(local_pool, chosen)
    records = [path for path in read if path.startswith("manifests/")]
    assert set(records) == {
        layout.manifest(asset, chosen) for asset in ("raw_pairs", "unique_pairs")
    }
    assert len(left(local_pool)) == 5
