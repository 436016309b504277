"""Which partitions are meant, and how they are put together to runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout, planning
from clip_assets.errors import ConfigurationError
from clip_assets.layout import PartitionKey
from clip_assets.partitions.ledger import PartitionPlan
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

KEYS = [layout.partition_key(number) for number in range(12)]
chosen_keys = st.lists(st.sampled_from(KEYS), unique=True)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """A pool with twelve planned partitions of nothing."""
    store = Store.open("memory://planning")
    for key in KEYS:
        store.write_bytes(layout.plan(key), PartitionPlan(key, ()).content())
    return Catalog(store)


@given(chosen_keys)
def test_ranges_hold_the_keys_and_nothing_else(keys: list[PartitionKey]) -> None:
    found = planning.ranges(keys, KEYS)
    held = [key for first, last in found for key in KEYS if first <= key <= last]
    assert held == sorted(keys)


@given(chosen_keys)
def test_ranges_are_as_few_as_can_be(keys: list[PartitionKey]) -> None:
    places = {KEYS.index(key) for key in keys}
    starts = [place for place in places if place - 1 not in places]
    assert len(planning.ranges(keys, KEYS)) == len(starts)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), min_size=1))
def test_keys_and_ranges_are_chosen_once_and_in_order(
    catalog: Catalog, parts: list[tuple[PartitionKey, PartitionKey]]
) -> None:
    spec = ",".join(first if first == last else f"{first}..{last}" for first, last in parts)
    wanted = [key for key in KEYS if any(first <= key <= last for first, last in parts)]
    if all(first <= last for first, last in parts):
        assert planning.chosen(spec, catalog, []) == wanted


def test_all_means_every_partition(catalog: Catalog) -> None:
    assert planning.chosen("all", catalog, []) == KEYS


@pytest.mark.parametrize("spec", ["", "x", "00000,", "00000..", "..00003", "00000..00099", "0"])
def test_unknown_keys_are_refused(catalog: Catalog, spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"keys of the pool \(00000\.\.00011\)"):
        planning.chosen(spec, catalog, [])
