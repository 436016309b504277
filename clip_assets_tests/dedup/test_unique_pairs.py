"""The first row of the pool that has a pair keeps it."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_assets import layout, schemas
from clip_assets.dedup.unique_pairs import UNIQUE_PAIRS, unique_pairs
from clip_assets.errors import MissingArtifactError, NotReadyError
from clip_assets.layout import Key
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.storage import tables
from clip_assets.storage.manifests import Failure, Report
from clip_assets_tests.dedup.conftest import MadePairs, Pair

GONE = Failure("SourceError", "gone", "2026-01-01")


def rows(*numbers: int) -> list[Pair]:
    return [(f"http://x/{number}", f"caption {number}") for number in numbers]


def run(made: MadePairs, partition: Key) -> Report:
    return unique_pairs(made.pool, partition).manifest.report


def first_wins(partitions: Sequence[Sequence[Pair]]) -> list[list[Pair]]:
    """The slow, obvious definition."""
    seen: set[Pair] = set()
    found: list[list[Pair]] = []
    for partition in partitions:
        kept: list[Pair] = []
        for pair in partition:
            if pair not in seen:
                seen.add(pair)
                kept.append(pair)
        found.append(kept)
    return found


def test_the_report_says_which_partition_had_the_pair_first(made: MadePairs) -> None:
    for numbers in [(1, 2, 3), (2, 4, 4, 4), (3, 4, 1, 5)]:
        made.add(rows(*numbers))
    reports = [run(made, key) for key in made.keys]
    assert [made.unique_rows(key) for key in made.keys] == [rows(1, 2, 3), rows(4), rows(5)]
    assert [report.dropped for report in reports] == [
        {},
        {"duplicate in this partition": 2, "duplicate of 00000": 1},
        {"duplicate of 00000": 2, "duplicate of 00001": 1},
    ]
    assert all(report.balances for report in reports)


def test_of_several_earlier_partitions_that_have_a_pair_the_first_is_named(made: MadePairs) -> None:
    for numbers in [(1,), (1, 2), (1, 2, 3), (1, 2, 3)]:
        made.add(rows(*numbers))
    reports = [run(made, key) for key in made.keys]
    assert [report.dropped for report in reports[2:]] == [
        {"duplicate of 00000": 1, "duplicate of 00001": 1},
        {"duplicate of 00000": 1, "duplicate of 00001": 1, "duplicate of 00002": 1},
    ]


def test_one_pool_sees_the_keys_of_what_it_made_itself(made: MadePairs) -> None:
    first, second = made.add(rows(1), raw=False), made.add(rows(1, 2))
    pool = made.pool
    before = UNIQUE_PAIRS.made_from(pool, second)
    raw_pairs(pool, first)
    after = UNIQUE_PAIRS.made_from(pool, second)
    assert before["earlier"] != after["earlier"]
    assert after == UNIQUE_PAIRS.made_from(made.pool, second)


def test_url_and_caption_must_both_be_equal(made: MadePairs) -> None:
    made.add([("http://x/1", "a"), ("http://x/1", "b"), ("http://x/2", "a"), ("http://x/1", "a")])
    run(made, made.keys[0])
    assert made.unique_rows(made.keys[0]) == [
        ("http://x/1", "a"), ("http://x/1", "b"), ("http://x/2", "a"),
    ]  # fmt: skip


def test_where_the_url_alone_counts_the_kept_row_has_all_captions_of_its_partition(
    made: MadePairs,
) -> None:
    made.set(sources={"duplicates": "url"})
    made.add([("http://x/1", "b"), ("http://x/2", ""), ("http://x/1", "a")])
    made.add([("http://x/1", "c"), ("http://x/3", "d")])
    reports = [run(made, key) for key in made.keys]
    assert [report.dropped for report in reports] == [
        {"duplicate in this partition": 1},
        {"duplicate of 00000": 1},
    ]
    kept = [
        tables.read(made.store, layout.unique(key), pa.schema([schemas.CAPTIONS]))
        for key in made.keys
    ]
    assert [made.unique_rows(key) for key in made.keys] == [
        [("http://x/1", "b"), ("http://x/2", "")],
        [("http://x/3", "d")],
    ]
    assert [table["captions"].to_pylist() for table in kept] == [[["a", "b"], None], [["d"]]]


def test_many_earlier_partitions_are_told_together(local_made: MadePairs) -> None:
    for number in range(22):
        local_made.add(rows(number))
    last = local_made.add(rows(*range(23)))
    assert run(local_made, last).dropped == {"duplicate of earlier partitions": 22}


def test_every_column_of_the_kept_rows_is_kept(made: MadePairs) -> None:
    key = made.add(rows(1, 2))
    run(made, key)
    raw = tables.read(made.store, layout.raw(key), schemas.PAIRS)
    assert tables.read(made.store, layout.unique(key), schemas.PAIRS).equals(raw)


def test_an_empty_partition_is_fine(made: MadePairs) -> None:
    made.add([])
    key = made.add(rows(1))
    assert run(made, made.keys[0]).rows_out == 0
    assert run(made, key).rows_out == 1


pairs = st.tuples(st.sampled_from(["http://x/1", "http://x/2"]), st.sampled_from(["", "a", "b"]))
pools = st.lists(st.lists(pairs, max_size=4), min_size=1, max_size=7)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(partitions=pools, data=st.data())
def test_the_result_does_not_depend_on_the_order_of_runs(
    new_made: Callable[[], MadePairs], partitions: list[list[Pair]], data: st.DataObject
) -> None:
    made = new_made()
    for partition in partitions:
        made.add(partition)
    for key in data.draw(st.permutations(made.keys)):
        run(made, key)
    assert [made.unique_rows(key) for key in made.keys] == first_wins(partitions)


def test_partitions_that_arrive_later_touch_only_themselves(made: MadePairs) -> None:
    made.add(rows(1, 2))
    made.add(rows(2, 3))
    for key in made.keys:
        run(made, key)
    made.add(rows(3, 4))
    again = [unique_pairs(made.pool, key) for key in made.keys]
    assert [outcome.reused for outcome in again] == [True, True, False]
    assert made.unique_rows(made.keys[2]) == rows(4)


def test_an_earlier_partition_that_was_never_tried_is_waited_for(made: MadePairs) -> None:
    made.add(rows(1), raw=False)
    key = made.add(rows(1))
    with pytest.raises(NotReadyError, match="00000"):
        run(made, key)


def test_an_earlier_partition_that_failed_is_left_out_and_named(made: MadePairs) -> None:
    failed = made.add(rows(1), raw=False)
    key = made.add(rows(1, 2))
    made.pool.catalog.put_failure(layout.RAW_PAIRS, failed, GONE)
    report = run(made, key)
    assert report.figures["earlier_missing"] == [failed]
    assert made.unique_rows(key) == rows(1, 2)


def test_a_failed_partition_that_is_repaired_makes_later_ones_stale(made: MadePairs) -> None:
    failed = made.add(rows(1), raw=False)
    key = made.add(rows(1, 2))
    made.pool.catalog.put_failure(layout.RAW_PAIRS, failed, GONE)
    run(made, key)
    assert UNIQUE_PAIRS.state(made.pool, key) == "done"
    raw_pairs(made.pool, failed)
    assert UNIQUE_PAIRS.state(made.pool, key) == "stale"
    assert run(made, key).dropped == {"duplicate of 00000": 1}
    assert made.unique_rows(key) == rows(2)


def test_its_own_rows_must_be_there(made: MadePairs) -> None:
    key = made.add(rows(1), raw=False)
    with pytest.raises(MissingArtifactError, match="raw_pairs 00000"):
        run(made, key)


def test_inputs_of_a_partition_without_upstream_can_be_asked_for(made: MadePairs) -> None:
    for number in range(3):
        made.add(rows(number), raw=False)
    inputs = UNIQUE_PAIRS.made_from(made.pool, made.keys[2])
    assert inputs[layout.RAW_PAIRS] == "absent"
