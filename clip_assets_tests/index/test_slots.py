"""Vector ids keep their meaning from version to version."""

from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout
from clip_assets.index import slots
from clip_assets.index.slots import Content, Slot, allocate

# A pool's history: for each version, the content of each partition (0: it is absent).
histories = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)


def contents(state: list[tuple[int, int]]) -> list[Content]:
    return [
        Content(layout.partition_key(number), f"digest {digest} {size}", size)
        for number, (digest, size) in enumerate(state)
        if digest
    ]


def meaning(ranges: list[Slot]) -> dict[int, tuple[Content, int]]:
    """What every id in use is: which row of which content."""
    return {
        slot.start + row: (slot.content, row)
        for slot in ranges
        if slot.content
        for row in range(slot.count)
    }


@given(histories)
def test_ids_are_unique_complete_and_stable(history: list[list[tuple[int, int]]]) -> None:
    ranges: list[Slot] = []
    for state in history:
        before = ranges
        ranges, is_renumbered = allocate(before, contents(state))
        ends = [slot.start + slot.count for slot in ranges]
        assert [slot.start for slot in ranges] == [0, *ends][: len(ends)]  # no gap, no overlap
        now = meaning(ranges)
        wanted = {(content, row) for content in contents(state) for row in range(content.vectors)}
        assert set(now.values()) == wanted
        assert len(now) == len(wanted)
        unused = slots.ids(ranges) - len(now)
        assert unused <= slots.MOST_UNUSED * slots.ids(ranges)
        if is_renumbered:
            assert unused == 0
            continue
        for vector_id, what in meaning(before).items():
            # An id means what it meant, or nothing.
            assert now.get(vector_id, what) == what
            if what[0] in contents(state):
                assert now[vector_id] == what


def test_a_new_partition_changes_no_id() -> None:
    first, _ = allocate([], contents([(1, 10), (1, 20)]))
    second, is_renumbered = allocate(first, contents([(1, 10), (1, 20), (1, 5)]))
    assert second[:2] == first
    assert (second[2].start, is_renumbered) == (30, False)


def test_a_changed_partition_leaves_its_ids_unused() -> None:
    first, _ = allocate([], contents([(1, 10), (1, 90)]))
    second, is_renumbered = allocate(first, contents([(2, 12), (1, 90)]))
    assert [(slot.start, slot.count, slot.content is None) for slot in second] == [
        (0, 10, True), (10, 90, False), (100, 12, False),
    ]  # fmt: skip
    assert not is_renumbered


def test_too_many_unused_ids_are_given_out_anew() -> None:
    first, _ = allocate([], contents([(1, 50), (1, 50)]))
    second, is_renumbered = allocate(first, contents([(1, 50), (2, 50)]))
    assert is_renumbered
    assert [(slot.start, slot.count) for slot in second] == [(0, 50), (50, 50)]
