"""Where published vectors lie is found in whichever form takes less memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from clip_assets.index.slots import Slot
from clip_assets.publishing.vector_places import GROUP_IDS
from clip_assets.retrieval.published_places import PublishedPlaces
from clip_assets.storage.store import Store

COUNTS = (2_500, 1_024, 1)


def test_of_a_data_set_that_publishes_next_to_nothing_no_more_is_held_than_its_file() -> None:
    groups = 20_000
    held = np.zeros((groups, GROUP_IDS // 8), np.uint8)
    slots = [Slot(0, groups * GROUP_IDS, None)]
    arrays = {"sizes": np.zeros(1, np.int64), "held": held}
    begins = np.zeros(groups, np.int64)
    tracemalloc.start()
    try:
        PublishedPlaces(Store("memory://"), slots, arrays | {"image": begins, "text": begins})
        assert tracemalloc.get_traced_memory()[1] < 8 * held.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 1])
def test_ids_lie_behind_those_of_their_group_that_are_published(
    tmp_path: Path, share: float
) -> None:
    drawn = np.random.default_rng(1)
    slots, held, expected, group = list[Slot](), list[np.ndarray](), list[int](), 0
    for count in COUNTS:
        slots.append(Slot(sum(slot.count for slot in slots), count, None))
        groups = -(-count // GROUP_IDS)
        is_held = np.zeros(groups * GROUP_IDS, np.bool_)
        is_held[:count] = drawn.random(count) >= share
        held.append(np.packbits(is_held.reshape(groups, -1), axis=1, bitorder="little"))
        for number in range(count):
            first = number // GROUP_IDS * GROUP_IDS
            before = int(is_held[first:number].sum())
            begin = 1_000 * (group + number // GROUP_IDS)
            expected.append(begin + 2 * before if is_held[number] else -1)
        group += groups
    begins = 1_000 * np.arange(group)
    arrays = {"sizes": np.zeros(3, np.int64), "held": np.concatenate(held)}
    places = PublishedPlaces(
        Store(str(tmp_path)), slots, arrays | {"image": begins, "text": begins}
    )
    ids = drawn.permutation(sum(COUNTS))
    lying = places.find(ids, "image", 2)
    owners = np.repeat(np.arange(3), COUNTS)[ids]
    wanted = np.array(expected)[ids]
    assert np.array_equal(lying.files, np.where(wanted < 0, -1, owners))
    assert np.array_equal(lying.starts[wanted >= 0], wanted[wanted >= 0])
    assert (places._held is None) == (share < 0.03)
    assert places.size_bytes <= 3 * 8 * 3 + group * (16 + min(128, 4 + int(share * 4_096) * 2))
