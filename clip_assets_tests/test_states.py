"""What is unfinished, which partitions are meant, and how they are put together to runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import graph, layout, states
from clip_assets.errors import ConfigurationError
from clip_assets.layout import WHOLE, Key
from clip_assets.pool.pool import Axis, Pool
from clip_assets.storage.manifests import Failure
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

KEYS = [layout.partition_key(number) for number in range(12)]
chosen_keys = st.lists(st.sampled_from(KEYS), unique=True)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """A pool with twelve planned partitions, none of them made."""
    made = MadeUp(Store.open("memory://states"))
    made.plan(*range(12))
    return made.pool


@given(chosen_keys)
def test_ranges_hold_the_keys_and_nothing_else(keys: list[Key]) -> None:
    found = states.ranges(keys, KEYS)
    held = [key for first, last in found for key in KEYS if first <= key <= last]
    assert held == sorted(keys)


@given(chosen_keys)
def test_ranges_are_as_few_as_can_be(keys: list[Key]) -> None:
    places = {KEYS.index(key) for key in keys}
    starts = [place for place in places if place - 1 not in places]
    assert len(states.ranges(keys, KEYS)) == len(starts)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), min_size=1))
def test_keys_and_ranges_are_chosen_once_and_in_order(
    pool: Pool, parts: list[tuple[Key, Key]]
) -> None:
    spec = ",".join(first if first == last else f"{first}..{last}" for first, last in parts)
    wanted = [key for key in KEYS if any(first <= key <= last for first, last in parts)]
    if all(first <= last for first, last in parts):
        assert states.chosen(spec, pool, []) == wanted


def test_all_means_every_partition(pool: Pool) -> None:
    assert states.chosen("all", pool, []) == KEYS


def test_names_of_subsets_are_keys_of_their_own_axis(pool: Pool) -> None:
    spec = "basic_filter, 00003..00004"
    assert states.chosen(spec, pool, [], "subset") == ["basic_filter"]
    assert states.chosen(spec, pool, []) == ["00003", "00004"]
    assert states.chosen("no_filter", pool, []) == []
    assert states.chosen("all", pool, [], "subset") == ["no_filter", "basic_filter"]
    assert states.names_subsets(spec, pool)
    assert not states.names_subsets("00003", pool)


@pytest.mark.parametrize(
    "spec", ["", "x", "00000,", "00000..", "..00003", "00000..00099", "00001..00000", "0"]
)
def test_unknown_keys_are_refused(pool: Pool, spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"keys of the pool \(00000\.\.00011\)"):
        states.chosen(spec, pool, [])


def test_a_pool_without_partitions_knows_no_key(made: MadeUp) -> None:
    assert states.chosen("all", made.pool, []) == []
    with pytest.raises(ConfigurationError, match="no partition yet"):
        states.chosen("00000", made.pool, [])


@pytest.fixture
def half_made(made: MadeUp) -> MadeUp:
    """Four partitions: done, stale, failed, missing; and one of two subsets."""
    keys = made.plan(0, 1, 2, 3)
    for key in keys[:2]:
        made.make(layout.RAW_PAIRS, key, 1, {})
    made.make(layout.SUBSETS, Key("no_filter"), 1, {})
    made.outdate(layout.RAW_PAIRS, keys[1])
    failure = Failure("SourceError", "gone", "2026-01-01")
    made.pool.catalog.put_failure(layout.RAW_PAIRS, keys[2], failure)
    return made


@pytest.mark.parametrize(
    ("axis", "unfinished", "failed"),
    [
        ("partition", ["00001", "00002", "00003"], ["00002"]),
        ("subset", ["basic_filter"], []),
        ("pool", [WHOLE], []),
    ],
)
def test_each_axis_has_its_unfinished_and_failed_keys(
    half_made: MadeUp, axis: Axis, unfinished: list[Key], failed: list[Key]
) -> None:
    pool = half_made.pool
    names = (layout.RAW_PAIRS, layout.SUBSETS, layout.METADATA_STATS)
    assets = [pool.assets[name] for name in names]
    assert states.unfinished(pool, assets, axis) == unfinished
    assert states.failed(pool, assets, axis) == failed


def test_missing_and_failed_mean_what_the_chosen_assets_lack(half_made: MadeUp) -> None:
    pool = half_made.pool
    raw = [pool.assets[layout.RAW_PAIRS]]
    assert states.chosen("missing", pool, raw) == ["00001", "00002", "00003"]
    assert states.chosen("failed", pool, raw) == ["00002"]
    assert states.chosen("missing", pool, graph.ASSETS.values()) == pool.partitions
