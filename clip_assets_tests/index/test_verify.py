"""A merged index that is wrong becomes no version."""

from collections.abc import Sequence

import faiss
import numpy as np
import pytest

from clip_assets.errors import CheckFailedError
from clip_assets.index import ann, verify
from clip_assets.index.kinds import FLAT
from clip_assets.index.slots import Slot
from clip_assets_tests.vectors import Floats, unit_rows

ROWS, DIM = 100, 16
FIRST, SECOND = Slot(0, ROWS, None), Slot(2 * ROWS, ROWS, None)
"""Ids of the two partitions; those between them are not in use."""
SLOTS = [FIRST, SECOND]


@pytest.fixture(params=[FLAT, "IVF128,Flat"])
def key(request: pytest.FixtureRequest) -> str:
    """A kind of index: exact, and one that searches half of its lists."""
    return request.param


SAMPLE = unit_rows(0, 1000, DIM)
PARTITIONS = unit_rows(1, ROWS, DIM), unit_rows(2, ROWS, DIM)


def segment(key: str, rows: Floats) -> ann.Index:
    return ann.encode(ann.trained(key, DIM, SAMPLE), [rows])


def merged(key: str, parts: Sequence[tuple[Floats, int]]) -> ann.Index:
    """An index of these vectors, each with the id that its first one has."""
    index = ann.trained(key, DIM, SAMPLE)
    for rows, start in parts:
        ann.merge(index, segment(key, rows), start, "a segment")
    return index


def samples(key: str, partitions: Sequence[Floats] = PARTITIONS) -> verify.Samples:
    """What the segments of both partitions say."""
    taken = verify.Samples("image")
    for rows, slot in zip(partitions, SLOTS, strict=True):
        taken.take(segment(key, rows), slot)
    return taken


def test_an_index_with_every_vector_under_its_id_passes(key: str) -> None:
    index = merged(key, [(PARTITIONS[0], 0), (PARTITIONS[1], 2 * ROWS)])
    verify.check_ids(index, SLOTS, "image")
    samples(key).check(index)


@pytest.mark.parametrize(
    ("starts", "refusal"),
    [
        pytest.param([0], "100 ids, 100 of them distinct", id="a partition is missing"),
        pytest.param([0, 0], "200 ids, 100 of them distinct", id="two have the same ids"),
        pytest.param([0, ROWS], "200 ids, 200 of them distinct", id="ids out of use are used"),
        pytest.param(
            [0, 2 * ROWS, 2 * ROWS], "300 ids, 200 of them distinct", id="one is there twice"
        ),
        pytest.param([0, ROWS, 2 * ROWS], "300 ids, 300 of them distinct", id="one too many"),
    ],
)
def test_other_ids_than_those_of_the_partitions_are_refused(
    key: str, starts: list[int], refusal: str
) -> None:
    index = merged(key, [(PARTITIONS[0], start) for start in starts])
    with pytest.raises(CheckFailedError, match=f"image index.*{refusal}.*the 200 ids of 2"):
        verify.check_ids(index, SLOTS, "image")


def test_a_count_that_is_not_that_of_the_ids_is_refused(key: str) -> None:
    index = merged(key, [(PARTITIONS[0], 0), (PARTITIONS[1], 2 * ROWS)])
    index.ntotal = ROWS
    with pytest.raises(CheckFailedError):
        verify.check_ids(index, SLOTS, "image")


def test_ids_that_mean_other_vectors_are_refused(key: str) -> None:
    index = merged(key, [(PARTITIONS[1], 0), (PARTITIONS[0], 2 * ROWS)])
    with pytest.raises(CheckFailedError, match=r"another vector for id 0.*the segment's"):
        samples(key).check(index)


@pytest.mark.parametrize("row", [0, ROWS // 2, ROWS - 1])
def test_one_changed_vector_of_those_remembered_is_noticed(key: str, row: int) -> None:
    changed = PARTITIONS[1].copy()
    changed[row, 3] += 0.01
    index = merged(key, [(PARTITIONS[0], 0), (changed, 2 * ROWS)])
    with pytest.raises(CheckFailedError, match=f"another vector for id {2 * ROWS + row}"):
        samples(key).check(index)


def test_an_id_that_is_not_there_is_another_vector(key: str) -> None:
    with pytest.raises(CheckFailedError, match=f"another vector for id {2 * ROWS}"):
        samples(key).check(merged(key, [(PARTITIONS[0], 0)]))


def test_a_vector_that_no_search_finds_is_noticed() -> None:
    index = merged("IVF128,Flat", [(PARTITIONS[0], 0), (PARTITIONS[1], 2 * ROWS)])
    lists = faiss.downcast_index(index)
    centres = lists.quantizer.reconstruct_n(0, lists.nlist)
    lists.quantizer.reset()
    lists.quantizer.add(-centres)  # a search looks into the wrong half of them
    with pytest.raises(CheckFailedError, match=r"no id \d+ in a search by its vector"):
        samples("IVF128,Flat").check(index)


def test_copies_that_crowd_each_other_out_are_no_fault(key: str) -> None:
    copies = np.repeat(PARTITIONS[0][:1], ROWS, axis=0)
    index = merged(key, [(copies, 0), (copies, 2 * ROWS)])
    samples(key, [copies, copies]).check(index)


def test_empty_partitions_have_nothing_to_check(key: str) -> None:
    taken = verify.Samples("image")
    taken.take(segment(key, PARTITIONS[0][:0]), Slot(0, 0, None))
    index = merged(key, [])
    taken.check(index)
    verify.check_ids(index, [Slot(0, 0, None)], "image")
