"""What is kept of files elsewhere stays within its bytes; what is dear stays longest."""

import random

from clip_assets.files.kept import ENTRY_BYTES, Kept


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    kept = Kept(3 * (100 + ENTRY_BYTES))
    for name in "abc":
        kept.put(name, name, 100)
    assert kept.get("a") == "a"
    kept.put("d", "d", 100)
    assert [kept.get(name) for name in "abcd"] == ["a", None, "c", "d"]


def test_whatever_is_put_the_bytes_are_those_of_what_is_kept_and_within_the_bound() -> None:
    drawn, kept, sizes = random.Random(1), Kept(100_000), dict[int, int]()
    for _ in range(2_000):
        key, size = drawn.randrange(60), drawn.randrange(30_000)
        kept.put(key, size, size, is_dear=key < 5)
        sizes[key] = size
        held = {key: size for key, size in sizes.items() if kept.get(key) is not None}
        assert kept.size_bytes == sum(held.values()) + ENTRY_BYTES * len(held) <= 100_000
    kept.clear()
    assert kept.size_bytes == 0


def test_nothing_makes_room_for_what_is_larger_than_all_room() -> None:
    kept = Kept(10_000)
    kept.put("centres", 1, 6_000, is_dear=True)
    kept.put("list", 2, 1_000)
    kept.put("large", 3, 10_000)
    assert [kept.get(name) for name in ("centres", "list", "large")] == [1, 2, None]
    kept.put("list", 4, 10_000)
    assert kept.get("list") is None, "it is another one by now"


def test_what_is_dear_stays_for_all_that_is_not() -> None:
    kept = Kept(10_000)
    kept.put("centres", 1, 6_000, is_dear=True)
    for number in range(100):
        kept.put(number, number, 1_000)
    assert kept.get("centres") == 1
    kept.put("places", 2, 3_000, is_dear=True)
    assert kept.get("centres") == 1
    assert kept.get(99) is None
    assert kept.get("places") == 2
    kept.put("other centres", 3, 6_000, is_dear=True)
    assert [kept.get(name) for name in ("centres", "places", "other centres")] == [None, 2, 3]


def test_what_is_larger_than_the_bound_is_not_kept() -> None:
    kept = Kept(1_000)
    kept.put("a", 1, 2_000)
    assert kept.get("a") is None
    assert kept.size_bytes == 0
