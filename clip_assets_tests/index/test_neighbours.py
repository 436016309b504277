"""The truth of partitions together is the truth of the pool."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.index.effort import neighbours
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import unit_rows

QUERIES = unit_rows(3, 5, 8)


@settings(max_examples=40)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_parts_joined_are_what_brute_force_finds(counts: list[int]) -> None:
    rows = [unit_rows(10 + place, count, 8) for place, count in enumerate(counts)]
    numbers = [np.arange(count) + 100 * place for place, count in enumerate(counts)]
    parts = [neighbours.of(QUERIES, own, of) for own, of in zip(rows, numbers, strict=True)]
    known = neighbours.joined(parts, len(QUERIES))
    similar = QUERIES @ np.concatenate(rows).T
    assert len(known.deep) == len(QUERIES)
    for truth in known:
        order = np.argsort(-similar, axis=1)[:, : truth.shape[1]]
        there = order.shape[1]
        assert np.allclose(truth["similarity"][:, :there], np.take_along_axis(similar, order, 1))
        assert np.array_equal(truth["list"][:, :there], np.concatenate(numbers)[order])
        assert np.isneginf(truth["similarity"][:, there:]).all()


@pytest.mark.parametrize("rows", [0, 7, 300])
def test_a_file_has_what_was_written_and_is_as_small_as_the_partition(
    local_store: Store, rows: int
) -> None:
    queries = unit_rows(5, 2_500, 8)
    known = neighbours.of(queries, unit_rows(6, rows, 8), np.arange(rows))
    assert len(known.deep) == 834  # every third
    with local_store.publish("known.npy") as part:
        neighbours.write(part, known)
    for stored, truth in zip(neighbours.read(local_store, "known.npy", 2_500), known, strict=True):
        assert np.array_equal(stored, truth)
    columns = min(rows, neighbours.DEEP_KEPT)
    expected = neighbours.NEIGHBOUR.itemsize * (2_500 * neighbours.KEPT + 834 * columns)
    assert len(local_store.read_bytes("known.npy")) - expected < 1_000
    with pytest.raises(SchemaError, match="the neighbours of 2,400 queries"):
        neighbours.read(local_store, "known.npy", 2_400)


def test_of_all_that_are_there_only_the_own_pair_is_left_out() -> None:
    rows = unit_rows(4, 40, 8)
    rows[7] = rows[3]  # a copy of it stays
    known = neighbours.of(QUERIES, rows, np.arange(40)).near
    for own in (3, int(known["list"][0, 4])):
        others = neighbours.others(known, QUERIES @ rows[own])
        left = np.delete(np.arange(40), own)
        for query, truth in zip(QUERIES, others, strict=True):
            best = np.sort(rows[left] @ query)[::-1][: neighbours.NEIGHBOURS]
            assert truth["similarity"] == pytest.approx(best)
    nowhere = neighbours.others(known, np.full(5, 0.999, np.float32))
    assert np.array_equal(nowhere, known[:, : neighbours.NEIGHBOURS])


@pytest.mark.parametrize(("block", "copies"), [(50, 0), (2_048, 0), (2_048, 600), (400, 250)])
def test_vectors_compared_block_by_block_are_what_brute_force_finds(
    monkeypatch: pytest.MonkeyPatch, block: int, copies: int
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    rows = unit_rows(8, 1_000, 8)
    rows[100 : 100 + copies] = QUERIES[0]
    similar = QUERIES @ rows.T
    known = neighbours.of(QUERIES, rows[:300], np.arange(300))
    for truth in neighbours.of(QUERIES, rows[300:], np.arange(300, 1_000), known):
        order = np.argsort(-similar, axis=1)[:, : truth.shape[1]]
        assert np.allclose(truth["similarity"], np.take_along_axis(similar, order, 1))
        # Which of the copies are kept is open.
        own = np.take_along_axis(similar, truth["list"], 1)
        assert np.allclose(truth["similarity"], own)
        assert all(len(set(kept)) == truth.shape[1] for kept in truth["list"].tolist())
