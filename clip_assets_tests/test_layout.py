"""Paths are arithmetic."""

import inspect
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout


@given(numbers=st.lists(st.integers(0, 99_999), unique=True))
def test_partition_keys_sort_like_numbers(numbers: list[int]) -> None:
    assert sorted(map(layout.partition_key, numbers)) == [
        layout.partition_key(number) for number in sorted(numbers)
    ]


def test_no_two_artifacts_share_a_path() -> None:
    values = {
        "partition": layout.partition_key(7),
        "asset": "raw_pairs",
        "name": "n",
        "number": 3,
        "side": "image",
        "version": "v",
        "slot": 3,
    }
    skipped = {"partition_key", "shard_name"}
    functions = {
        name: function
        for name, function in inspect.getmembers(layout, inspect.isfunction)
        if function.__module__ == layout.__name__ and name not in skipped
    }
    paths = {
        name: function(**{p: values[p] for p in inspect.signature(function).parameters})
        for name, function in functions.items()
    }
    for (first, one), (second, other) in combinations(paths.items(), 2):
        assert one != other, f"{first} and {second}"
        assert not one.startswith("/")
