"""How far a pool has moved from what its lists were trained on is told, and a rule acts on it."""

from typing import Any

import numpy as np
import pytest

from benchmarks.made_up_vectors import Source
from clip_assets import layout
from clip_assets.index import drift, recipe_file, versions
from clip_assets.index.drift import FAR, Drift
from clip_assets.layout import WHOLE
from clip_assets_tests.index.conftest import OWN, RandomVectors
from clip_assets_tests.vectors import unit_rows

DIM, ROWS = 32, 960


SCATTERED = -1
"""Vectors without any clusters, to which no list comes near."""


def add(made: RandomVectors, number: int, rows: int, topics: int = 0) -> None:
    """A partition of vectors of some contents."""
    if topics == SCATTERED:
        pairs = unit_rows(number, rows, DIM), unit_rows(number + 1, rows, DIM)
    else:
        pairs = Source(DIM, clusters=10, topics=topics).pairs(rows, seed=number)
    key = layout.partition_key(number)
    made.put(number, pairs, made.rows(key, rows), content="", model=OWN)


def newest(made: RandomVectors) -> dict[str, Drift]:
    return versions.read(made.store, versions.merged(made.store)[-1]).drift


def decision(made: RandomVectors) -> str:
    return made.recipe().manifest.report.figures["decision"]


def test_drift_is_told_and_beyond_a_bound_lists_are_trained_anew(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100, "retrain_far": 0.15, "keep_versions": 9})
    add(made, 0, ROWS)
    made.index()
    for known in newest(made).values():
        assert known.far == known.far_of_new < 2 * FAR
        assert known.imbalance == pytest.approx(known.imbalance_trained, rel=0.1)
    add(made, 1, 200)
    made.index()
    like, before = newest(made)["image"], recipe_file.read(made.store)
    assert like.far_of_new == pytest.approx(FAR, abs=0.04)
    add(made, 2, 600, topics=SCATTERED)
    assert decision(made).startswith("kept")  # not known before they are encoded
    made.index()
    other = newest(made)["image"]
    assert other.far_of_new > 0.4
    assert other.far == pytest.approx((like.far * 1160 + other.far_of_new * 600) / 1760, abs=1e-3)
    figures = made.merge().manifest.report.figures
    assert figures["drift"]["image"]["far"] == other.far
    report = made.recipe().manifest.report
    assert report.figures["decision"].startswith(f"new: {other.far:.3f} of the image vectors are")
    assert report.figures["rule"]["far"]["image"] == other.far
    assert report.figures["rule"]["retrain_far"] == 0.15
    assert recipe_file.read(made.store).baselines != before.baselines
    made.index()
    assert newest(made)["image"].far < 2 * FAR
    assert decision(made).startswith("kept")


def test_uneven_lists_and_the_hand_train_anew_too(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    add(made, 0, ROWS)
    made.index()
    made.set(index={"flat_limit": 100, "retrain_imbalance": 1.04})
    version = versions.merged(made.store)[-1]
    path = layout.index_manifest(version)
    known = newest(made)["text"]
    # As many digits: a file of another size is taken for damaged.
    before = f'"imbalance_trained": {known.imbalance_trained}'
    even = f'"imbalance_trained": {1:.{len(str(known.imbalance_trained)) - 2}f}'
    told = made.store.read_bytes(path).decode()
    made.store.write_bytes(path, told.replace(before, even).encode())
    add(made, 1, 10)
    assert f"text lists are {known.imbalance:.2f} times as uneven" in decision(made)
    made.set(index={"flat_limit": 100, "retrain": 1})
    assert decision(made) == "new: settings of the index changed"


def test_a_version_of_few_partitions_decides_nothing(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100, "retrain_far": 0, "retrain_imbalance": 1})
    add(made, 0, 600)
    add(made, 1, 600, topics=SCATTERED)
    made.recipe()
    add(made, 2, 10)
    made.segment(layout.partition_key(0))
    made.merge()
    assert decision(made).startswith("kept")
    made.segment()
    made.merge()
    assert "far from the centre" in decision(made)


def test_what_a_version_says_of_drift_is_mended_to_the_same_bytes(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    add(made, 0, ROWS)
    made.index()
    manifest = made.pool.catalog.require(layout.FAISS_INDEX, WHOLE)
    path = layout.index_manifest(versions.merged(made.store)[-1])
    before = made.store.read_bytes(path)
    made.store.delete(path)
    made.pool.assets[layout.FAISS_INDEX].make(made.pool.mending(manifest, [path]), WHOLE)
    assert made.store.read_bytes(path) == before


@pytest.mark.parametrize(("sizes", "expected"), [([5, 5], 1), ([10, 0], 2), ([0, 0], 0)])
def test_imbalance_is_by_how_much_the_average_vectors_list_is_longer(
    sizes: Any, expected: float
) -> None:
    assert drift.imbalance(np.array(sizes)) == expected
