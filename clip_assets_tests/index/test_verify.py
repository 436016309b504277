"""An exact index that is wrong becomes no version."""

from collections.abc import Sequence

import pytest

from clip_assets.errors import CheckFailedError
from clip_assets.index import verify
from clip_assets.index.engine import ann
from clip_assets.index.engine.kinds import FLAT
from clip_assets.index.slots import Slot
from clip_assets_tests.vectors import Floats, unit_rows

ROWS, DIM = 100, 16
FIRST, SECOND = Slot(0, ROWS, None), Slot(2 * ROWS, ROWS, None)
"""Ids of the two partitions; those between them are not in use."""
SLOTS = [FIRST, SECOND]
PARTITIONS = unit_rows(1, ROWS, DIM), unit_rows(2, ROWS, DIM)


def segment(rows: Floats) -> ann.Index:
    made = ann.trained(FLAT, DIM, rows[:0])
    ann.add(made, rows)
    return made


def merged(parts: Sequence[tuple[Floats, int]]) -> ann.Index:
    """An index of these vectors, each with the id that its first one has."""
    index = segment(PARTITIONS[0][:0])
    for rows, start in parts:
        ann.append(index, segment(rows), start)
    return index


def samples(partitions: Sequence[Floats] = PARTITIONS) -> verify.Samples:
    """What the segments of both partitions say."""
    taken = verify.Samples("image")
    for rows, slot in zip(partitions, SLOTS, strict=True):
        taken.take(segment(rows), slot)
    return taken


def test_an_index_with_every_vector_under_its_id_passes() -> None:
    index = merged([(PARTITIONS[0], 0), (PARTITIONS[1], 2 * ROWS)])
    verify.check_ids(index, SLOTS, "image")
    samples().check(index)


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
    starts: list[int], refusal: str
) -> None:
    index = merged([(PARTITIONS[0], start) for start in starts])
    with pytest.raises(CheckFailedError, match=f"image index.*{refusal}.*the 200 ids of 2"):
        verify.check_ids(index, SLOTS, "image")


def test_ids_that_mean_other_vectors_are_refused() -> None:
    index = merged([(PARTITIONS[1], 0), (PARTITIONS[0], 2 * ROWS)])
    with pytest.raises(CheckFailedError, match=r"another vector for id 0.*the segment's"):
        samples().check(index)


@pytest.mark.parametrize("row", [0, ROWS // 2, ROWS - 1])
def test_one_changed_vector_of_those_remembered_is_noticed(row: int) -> None:
    changed = PARTITIONS[1].copy()
    changed[row, 3] += 0.01
    index = merged([(PARTITIONS[0], 0), (changed, 2 * ROWS)])
    with pytest.raises(CheckFailedError, match=f"another vector for id {2 * ROWS + row}"):
        samples().check(index)


def test_an_id_that_is_not_there_is_another_vector() -> None:
    with pytest.raises(CheckFailedError, match=f"another vector for id {2 * ROWS}"):
        samples().check(merged([(PARTITIONS[0], 0)]))


def test_empty_partitions_have_nothing_to_check() -> None:
    taken = verify.Samples("image")
    taken.take(segment(PARTITIONS[0][:0]), Slot(0, 0, None))
    index = merged([])
    taken.check(index)
    verify.check_ids(index, [Slot(0, 0, None)], "image")
