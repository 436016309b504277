"""The first row of the pool that has a pair keeps it."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_assets import layout, schemas
from clip_assets.dedup.unique_pairs import UNIQUE_PAIRS, unique_pairs, unique_pairs_inputs
from clip_assets.errors import MissingArtifactError, NotReadyError
from clip_assets.layout import PartitionKey
from clip_assets.settings import Sources
from clip_assets.storage import tables
from clip_assets.storage.manifests import Failure, Report, write_failure

Pool = Any
Pair = tuple[str, str]


def rows(*numbers: int) -> list[Pair]:
    return [(f"http://x/{number}", f"caption {number}") for number in numbers]


def run(pool: Pool, partition: PartitionKey) -> Report:
    return unique_pairs(pool.catalog, partition, pool.earlier(partition)).manifest.report


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


def test_the_report_says_which_partition_had_the_pair_first(pool: Pool) -> None:
    for numbers in [(1, 2, 3), (2, 4, 4, 4), (3, 4, 1, 5)]:
        pool.add(rows(*numbers))
    reports = [run(pool, key) for key in pool.keys]
    assert [pool.unique_rows(key) for key in pool.keys] == [rows(1, 2, 3), rows(4), rows(5)]
    assert [report.dropped for report in reports] == [
        {},
        {"duplicate in this partition": 2, "duplicate of 00000": 1},
        {"duplicate of 00000": 2, "duplicate of 00001": 1},
    ]
    assert all(report.balances for report in reports)


def test_of_several_earlier_partitions_that_have_a_pair_the_first_is_named(pool: Pool) -> None:
    for numbers in [(1,), (1, 2), (1, 2, 3), (1, 2, 3)]:
        pool.add(rows(*numbers))
    reports = [run(pool, key) for key in pool.keys]
    assert [report.dropped for report in reports[2:]] == [
        {"duplicate of 00000": 1, "duplicate of 00001": 1},
        {"duplicate of 00000": 1, "duplicate of 00001": 1, "duplicate of 00002": 1},
    ]


def test_url_and_caption_must_both_be_equal(pool: Pool) -> None:
    pool.add([("http://x/1", "a"), ("http://x/1", "b"), ("http://x/2", "a"), ("http://x/1", "a")])
    run(pool, pool.keys[0])
    assert pool.unique_rows(pool.keys[0]) == [
        ("http://x/1", "a"), ("http://x/1", "b"), ("http://x/2", "a"),
    ]  # fmt: skip


def test_where_the_url_alone_counts_the_kept_row_has_all_captions_of_its_partition(
    pool: Pool,
) -> None:
    pool.settings = Sources(duplicates="url")
    pool.add([("http://x/1", "b"), ("http://x/2", ""), ("http://x/1", "a")])
    pool.add([("http://x/1", "c"), ("http://x/3", "d")])
    reports = [run(pool, key) for key in pool.keys]
    assert [report.dropped for report in reports] == [
        {"duplicate in this partition": 1},
        {"duplicate of 00000": 1},
    ]
    kept = [
        tables.read(pool.store, layout.unique(key), pa.schema([schemas.CAPTIONS]), "unique_pairs")
        for key in pool.keys
    ]
    assert [pool.unique_rows(key) for key in pool.keys] == [
        [("http://x/1", "b"), ("http://x/2", "")],
        [("http://x/3", "d")],
    ]
    assert [table["captions"].to_pylist() for table in kept] == [[["a", "b"], None], [["d"]]]


def test_many_earlier_partitions_are_told_together(local_pool: Pool) -> None:
    for number in range(22):
        local_pool.add(rows(number))
    last = local_pool.add(rows(*range(23)))
    assert run(local_pool, last).dropped == {"duplicate of earlier partitions": 22}


def test_every_column_of_the_kept_rows_is_kept(pool: Pool) -> None:
    key = pool.add(rows(1, 2))
    run(pool, key)
    raw = tables.read(pool.store, layout.raw(key), schemas.PAIRS, "raw_pairs")
    assert tables.read(pool.store, layout.unique(key), schemas.PAIRS, "unique_pairs").equals(raw)


def test_an_empty_partition_is_fine(pool: Pool) -> None:
    pool.add([])
    key = pool.add(rows(1))
    assert run(pool, pool.keys[0]).rows_out == 0
    assert run(pool, key).rows_out == 1


pairs = st.tuples(st.sampled_from(["http://x/1", "http://x/2"]), st.sampled_from(["", "a", "b"]))
pools = st.lists(st.lists(pairs, max_size=4), min_size=1, max_size=7)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(partitions=pools, data=st.data())
def test_the_result_does_not_depend_on_the_order_of_runs(
    new_pool: Callable[[], Pool], partitions: list[list[Pair]], data: st.DataObject
) -> None:
    pool = new_pool()
    for partition in partitions:
        pool.add(partition)
    for key in data.draw(st.permutations(pool.keys)):
        run(pool, key)
    assert [pool.unique_rows(key) for key in pool.keys] == first_wins(partitions)


def test_partitions_that_arrive_later_touch_only_themselves(pool: Pool) -> None:
    pool.add(rows(1, 2))
    pool.add(rows(2, 3))
    for key in pool.keys:
        run(pool, key)
    pool.add(rows(3, 4))
    again = [unique_pairs(pool.catalog, key, pool.earlier(key)) for key in pool.keys]
    assert [outcome.reused for outcome in again] == [True, True, False]
    assert pool.unique_rows(pool.keys[2]) == rows(4)


def test_an_earlier_partition_that_was_never_tried_is_waited_for(pool: Pool) -> None:
    pool.add(rows(1), raw=False)
    key = pool.add(rows(1))
    with pytest.raises(NotReadyError, match="00000"):
        run(pool, key)


def test_an_earlier_partition_that_failed_is_left_out_and_named(pool: Pool) -> None:
    failed = pool.add(rows(1), raw=False)
    key = pool.add(rows(1, 2))
    write_failure(pool.store, "raw_pairs", failed, Failure("SourceError", "gone", "2026-01-01"))
    report = run(pool, key)
    assert report.figures["earlier_missing"] == [failed]
    assert pool.unique_rows(key) == rows(1, 2)


def test_a_failed_partition_that_is_repaired_makes_later_ones_stale(pool: Pool) -> None:
    failed = pool.add(rows(1), raw=False)
    key = pool.add(rows(1, 2))
    write_failure(pool.store, "raw_pairs", failed, Failure("SourceError", "gone", "2026-01-01"))
    run(pool, key)
    pool.make_raw(failed)
    inputs = unique_pairs_inputs(pool.catalog, key, [failed])
    version = UNIQUE_PAIRS.version
    assert pool.catalog.state("unique_pairs", key, version, inputs) == "stale"
    assert run(pool, key).dropped == {"duplicate of 00000": 1}
    assert pool.unique_rows(key) == rows(2)


def test_its_own_rows_must_be_there(pool: Pool) -> None:
    key = pool.add(rows(1), raw=False)
    with pytest.raises(MissingArtifactError, match="raw_pairs 00000"):
        run(pool, key)


def test_inputs_of_a_partition_without_upstream_can_be_asked_for(pool: Pool) -> None:
    for number in range(3):
        pool.add(rows(number), raw=False)
    inputs = unique_pairs_inputs(pool.catalog, pool.keys[2], pool.keys[:2])
    assert inputs["raw_pairs"] == "absent"
