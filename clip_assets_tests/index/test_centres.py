"""Lists found in two steps are as many as were asked for, and as good as faiss' own."""

import faiss
import numpy as np

from clip_assets.index.engine import ann, centres
from clip_assets_tests.vectors import unit_rows

LISTS, DIM = centres.LEAST_LISTS, 8


def uneven() -> np.ndarray:
    """Most of the vectors lie around one of them."""
    rows = unit_rows(3, centres.LEAST_POINTS * LISTS, DIM)
    rows[: len(rows) // 2] = rows[0] + 0.05 * rows[: len(rows) // 2]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def nearest(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    return (rows @ found.T).max(axis=1)


def test_they_are_unit_vectors_near_what_they_stand_for() -> None:
    rows = uneven()
    assert centres.suits(LISTS, len(rows))
    assert not centres.suits(LISTS, len(rows) - 1)
    assert not centres.suits(LISTS - 1, len(rows))
    found = centres.centres(rows, LISTS, 1)
    assert found.shape == (LISTS, DIM)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(found, centres.centres(rows, LISTS, 1))
    theirs = faiss.Kmeans(DIM, LISTS, niter=10, spherical=True, seed=1, min_points_per_centroid=1)
    theirs.train(rows)
    lost = (1 - nearest(rows, found)).mean() / (1 - nearest(rows, theirs.centroids)).mean()
    assert lost < 1.1


def test_an_index_with_a_rotation_is_trained_by_them() -> None:
    rows = uneven()
    index = ann.trained(f"RR{DIM},IVF{LISTS},SQ8", DIM, rows)
    owners = ann.add(index, rows).lists
    assert np.bincount(owners, minlength=LISTS).max() < len(rows) / 20
    strays = np.arange(len(rows) - 100, len(rows))
    _, ids = ann.search(index, rows[strays], 1, gap=0.0)
    assert (ids[:, 0] == strays).mean() > 0.9
