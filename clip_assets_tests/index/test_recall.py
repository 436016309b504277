"""Approximate indices are tuned until they find what an exact search finds, and say how well."""

import faiss
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.index import recall, vectors_in, versions
from clip_assets.storage import vectors
from clip_assets_tests.index.conftest import RandomVectors


def meter(made: RandomVectors, side: str = "image") -> recall.Meter:
    version = versions.read(made.store, versions.merged(made.store)[-1])
    embedded = vectors_in.embedded(made.pool, [partition for _, partition in version.used])
    return recall.Meter(made.store, embedded, [slot for slot, _ in version.used], side)


def read(made: RandomVectors, side: str) -> faiss.Index:
    with made.store.local(layout.index(versions.merged(made.store)[-1], side)) as file:
        return faiss.read_index(str(file))


def true_recall(made: RandomVectors, side: str, kind: str) -> float:
    """By ids, over every row of the pool: the obvious definition."""
    queries = np.concatenate([made.vectors(key, kind) for key in made.pool.partitions]).astype("f4")
    stored = np.concatenate([made.vectors(key, side) for key in made.pool.partitions]).astype("f4")
    exact = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    _, nearest = read(made, side).search(queries, 10)
    shared = [
        len({*one} & {*two}) for one, two in zip(exact.tolist(), nearest.tolist(), strict=True)
    ]
    return sum(shared) / exact.size


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "IDMap2,Flat"),
        ({"flat_limit": 100}, "IVF32,Flat"),
        ({"flat_limit": 100, "max_memory_bytes": 2**20}, "IVF32,SQ8"),
    ],
)
def test_reported_recall_is_the_true_one(
    made: RandomVectors, settings: dict[str, int], kind: str
) -> None:
    made.set(index=settings)
    rows, dim = (1200, 16) if "SQ8" not in kind else (2200, 64)
    made.embed(0, rows, dim=dim)
    made.embed(1, 100, dim=dim)
    made.index()
    figures = made.pool.catalog.get(layout.FAISS_INDEX).report.figures
    assert figures["key"].partition(",")[2] == kind.partition(",")[2]
    for side in layout.SIDES:
        for query in layout.SIDES:
            reported = figures["recall_at_10"][side][query]
            assert reported >= (1 if "Flat" in kind and "IVF" not in kind else recall.WANTED - 0.01)
            assert reported == pytest.approx(true_recall(made, side, query), abs=0.03)


def test_only_as_many_lists_are_probed_as_are_needed(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 5000)
    made.index()
    probed = made.pool.catalog.get(layout.FAISS_INDEX).report.figures["lists_probed"]["image"]
    index = read(made, "image")
    assert index.nprobe == probed
    assert 1 < probed < index.nlist
    fewer = meter(made).measure(index, probed // 2)
    assert min(fewer.by.values()) < recall.WANTED


def test_copies_of_an_image_stand_for_each_other(made: RandomVectors) -> None:
    key = made.embed(0, 400)
    copies = made.vectors(key)
    copies[100:300] = copies[100]
    with made.store.publish(layout.img_emb(key)) as part:
        vectors.write(part, [copies], *copies.shape)
    made.set(index={"flat_limit": 100})
    made.index()
    figures = made.pool.catalog.get(layout.FAISS_INDEX).report.figures["recall_at_10"]
    assert min(figures["image"].values()) >= recall.WANTED


def test_product_codes_report_a_recall_that_is_out_of_reach(made: RandomVectors) -> None:
    made.embed(0, 1200, dim=512)
    made.set(index={"flat_limit": 1, "max_memory_bytes": 2**20})
    made.index()
    figures = made.pool.catalog.get(layout.FAISS_INDEX).report.figures
    assert "PQ" in figures["key"]
    assert 0 < figures["recall_at_10"]["image"]["text"] <= 1


def test_measuring_is_the_same_every_time(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 2000)
    made.index()
    index = read(made, "text")
    assert meter(made, "text").tune(index) == meter(made, "text").tune(index)
