"""Approximate indices are tuned until they find what an exact search finds, and say how well."""

import faiss
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.index import recall, vectors_in, versions
from clip_assets.storage import vectors


def meter(pool, side: str = "image") -> recall.Meter:
    version = versions.read(pool.store, versions.merged(pool.store)[-1])
    found = vectors_in.look(pool.catalog, [partition for _, partition in version.used])
    return recall.Meter(pool.store, found, [slot for slot, _ in version.used], side)


def read(pool, side: str) -> faiss.Index:
    with pool.store.local(layout.index(versions.merged(pool.store)[-1], side)) as file:
        return faiss.read_index(str(file))


def true_recall(pool, side: str, kind: str) -> float:
    """By ids, over every row of the pool: the obvious definition."""
    queries = np.concatenate([pool.vectors(key, kind) for key in pool.partitions]).astype("f4")
    stored = np.concatenate([pool.vectors(key, side) for key in pool.partitions]).astype("f4")
    exact = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    _, found = read(pool, side).search(queries, 10)
    shared = [len({*one} & {*two}) for one, two in zip(exact.tolist(), found.tolist(), strict=True)]
    return sum(shared) / exact.size


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "IDMap2,Flat"),
        ({"flat_limit": 100}, "IVF32,Flat"),
        ({"flat_limit": 100, "max_memory_bytes": 2**20}, "IVF32,SQ8"),
    ],
)
def test_reported_recall_is_the_true_one(pool, settings: dict, kind: str) -> None:
    pool.set(**settings)
    rows, dim = (1200, 16) if "SQ8" not in kind else (2200, 64)
    pool.embed(0, rows, dim=dim)
    pool.embed(1, 100, dim=dim)
    pool.index()
    figures = pool.catalog.get("faiss_index").report.figures
    assert figures["key"].partition(",")[2] == kind.partition(",")[2]
    for side in layout.SIDES:
        for query in layout.SIDES:
            reported = figures["recall_at_10"][side][query]
            assert reported >= (1 if "Flat" in kind and "IVF" not in kind else recall.WANTED - 0.01)
            assert reported == pytest.approx(true_recall(pool, side, query), abs=0.03)


def test_only_as_many_lists_are_probed_as_are_needed(pool) -> None:
    pool.set(flat_limit=100)
    pool.embed(0, 5000)
    pool.index()
    probed = pool.catalog.get("faiss_index").report.figures["lists_probed"]["image"]
    index = read(pool, "image")
    assert index.nprobe == probed
    assert 1 < probed < index.nlist
    fewer = meter(pool).measure(index, probed // 2)
    assert min(fewer.by.values()) < recall.WANTED


def test_copies_of_an_image_stand_for_each_other(pool) -> None:
    key = pool.embed(0, 400)
    copies = pool.vectors(key)
    copies[100:300] = copies[100]
    with pool.store.publish(layout.img_emb(key)) as part:
        vectors.write(part, [copies], *copies.shape)
    pool.set(flat_limit=100)
    pool.index()
    figures = pool.catalog.get("faiss_index").report.figures["recall_at_10"]
    assert min(figures["image"].values()) >= recall.WANTED


def test_product_codes_report_a_recall_that_is_out_of_reach(pool) -> None:
    pool.embed(0, 1200, dim=512)
    pool.set(flat_limit=1, max_memory_bytes=2**20)
    pool.index()
    figures = pool.catalog.get("faiss_index").report.figures
    assert "PQ" in figures["key"]
    assert 0 < figures["recall_at_10"]["image"]["text"] <= 1


def test_measuring_is_the_same_every_time(pool) -> None:
    pool.set(flat_limit=100)
    pool.embed(0, 2000)
    pool.index()
    index = read(pool, "text")
    assert meter(pool, "text").tune(index) == meter(pool, "text").tune(index)
