"""Many partitions are compared in few passes, and nothing stale is used."""

from typing import Any

import pytest

from clip_assets import layout
from clip_assets.dedup import keys
from clip_assets.dedup.unique_pairs import unique_pairs
from clip_assets.layout import Key
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import SourceSettings
from clip_assets.storage import locks
from clip_assets.storage.store import Store
from clip_assets_tests.dedup.conftest import MadePairs


def rows(*numbers: int) -> list[tuple[str, str]]:
    return [(f"http://x/{number}", "") for number in numbers]


def run(made: MadePairs, partition: Key) -> None:
    unique_pairs(made.pool, partition)


def overlapping(made: MadePairs, partitions: int) -> None:
    """Partition n has rows n, n + 1, n + 2: the first has three new ones, the others one."""
    for number in range(partitions):
        made.add(rows(number, number + 1, number + 2))


def left(made: MadePairs) -> list[Key]:
    return [key for key in made.keys if made.store.exists(layout.owners(key))]


def test_a_run_takes_as_many_companions_along_as_it_has_earlier_partitions(
    local_made: MadePairs,
) -> None:
    overlapping(local_made, 8)
    taken: list[int] = []
    for key in local_made.keys:
        before = set(left(local_made))
        run(local_made, key)
        taken.append(len(set(left(local_made)) - before))
    assert taken == [0, 0, 1, 0, 3, 0, 0, 0]
    assert [local_made.unique_rows(key) for key in local_made.keys] == [
        rows(0, 1, 2), *(rows(number + 2) for number in range(1, 8)),
    ]  # fmt: skip


def test_the_keys_of_a_pool_are_read_a_bounded_number_of_times(
    local_made: MadePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(local_made, 20)
    read: list[int] = []
    compare = keys.first_owners

    def counting(run: Any, earlier: Any, targets: Any) -> Any:
        read.append(len(earlier) + len(targets))
        return compare(run, earlier, targets)

    monkeypatch.setattr("clip_assets.dedup.passes.first_owners", counting)
    for key in local_made.keys:
        run(local_made, key)
    assert sum(read) <= 4 * len(local_made.keys)


def test_what_a_pass_left_is_not_used_when_earlier_keys_changed(made: MadePairs) -> None:
    overlapping(made, 6)
    run(made, made.keys[3])
    assert left(made) == made.keys[4:]
    made.store.delete(layout.manifest(layout.RAW_PAIRS, made.keys[0]))
    (made.folder / "00000.csv").write_text("url,caption\nhttp://x/5,\n")
    add_sources(made.store, [str(made.folder / "00000.csv")], SourceSettings(), refresh=True)
    raw_pairs(made.pool, made.keys[0])
    run(made, made.keys[4])
    assert made.unique_rows(made.keys[4]) == rows(6)


def test_while_another_process_makes_a_pass_a_partition_goes_alone(local_made: MadePairs) -> None:
    overlapping(local_made, 6)
    with locks.exclusive(local_made.store, f"{layout.UNIQUE_PAIRS}/pass"):
        run(local_made, local_made.keys[3])
    assert left(local_made) == []
    assert local_made.unique_rows(local_made.keys[3]) == rows(5)


def test_no_companion_is_taken_from_behind_a_partition_that_is_done(local_made: MadePairs) -> None:
    for number in (0, 1, 2, 3, 9, 9):
        local_made.add(rows(number))
    for place in (3, 4, 2, 5):
        run(local_made, local_made.keys[place])
    assert local_made.unique_rows(local_made.keys[4]) == rows(9)
    assert local_made.unique_rows(local_made.keys[5]) == []


def test_nothing_is_left_when_every_partition_is_done(local_made: MadePairs) -> None:
    overlapping(local_made, 7)
    for key in local_made.keys:
        run(local_made, key)
    assert local_made.store.list("work") == []


def test_slices_cover_every_key_once(
    local_made: MadePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "SLICE_KEYS", 7)
    for number in range(4):
        local_made.add(rows(*range(number * 10, number * 10 + 40)))
    for key in local_made.keys:
        run(local_made, key)
    found = [row for key in local_made.keys for row in local_made.unique_rows(key)]
    assert found == rows(*range(70))


def test_the_manifests_of_other_partitions_are_read_together(
    local_made: MadePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(local_made, 12)
    read: list[str] = []
    read_bytes = Store.read_bytes

    def counting(store: Store, path: str) -> bytes:
        read.append(path)
        return read_bytes(store, path)

    monkeypatch.setattr(Store, "read_bytes", counting)
    chosen = local_made.keys[6]
    run(local_made, chosen)
    records = [path for path in read if path.startswith("manifests/")]
    assert set(records) == {
        layout.manifest(asset, chosen) for asset in (layout.RAW_PAIRS, layout.UNIQUE_PAIRS)
    }
    assert len(left(local_made)) == 5
