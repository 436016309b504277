"""Centres of many lists, found in two steps: groups of lists first, then lists within each.

Comparing every vector with every centre is what training costs, and k-means does it ten times.
Groups cost their square root; two rounds among all centres then move those that lie badly at the
borders of groups. Few lists are trained by faiss alone, see ``engine.ann``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import math

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.index.engine import placing

Floats = npt.NDArray[np.float32]

LEAST_LISTS = 512
"""With fewer, faiss' own k-means costs seconds."""

LEAST_POINTS = 16
"""Of each list: else a group may have fewer vectors than lists."""

ROUNDS = 10
"""Of k-means among groups, and among the lists of each."""

ROUNDS_OF_ALL = 2
"""Measured: of three the lists are no better, of one worse, see docs/decisions/0072."""

POINTS_PER_GROUP = 256


def suits(lists: int, points: int) -> bool:
    """Whether so many lists are better trained here on so many vectors."""
    return lists >= LEAST_LISTS and points >= LEAST_POINTS * lists


def centres(sample: Floats, lists: int, seed: int) -> Floats:
    """Centres for inner products, each of length 1.

    Memory: the sample once more, group by group.

    Args:
        sample: (n, dim), C-contiguous, n at least ``LEAST_POINTS`` times ``lists``.
        lists: how many.
        seed: of k-means.

    Returns:
        (lists, dim).
    """
    groups = math.isqrt(lists)
    some = sample[:: max(1, len(sample) // (groups * POINTS_PER_GROUP))]
    middles = faiss.IndexFlatIP(sample.shape[1])
    middles.add(_trained(some, groups, seed, ROUNDS))
    owners = middles.search(sample, 1)[1][:, 0]
    counts = _shares(np.bincount(owners, minlength=groups), lists)
    # Not a sort of the sample: one group is copied at a time.
    parts = [
        _trained(sample[owners == group], count, seed, ROUNDS)
        for group, count in enumerate(counts.tolist())
        if count
    ]
    start = np.concatenate(parts)
    if lists < placing.LEAST:
        return _trained(sample, lists, seed, ROUNDS_OF_ALL, start)
    for _ in range(ROUNDS_OF_ALL):
        placed = placing.Neighbourhoods(start).placed(sample)
        start = placing.moved(start, sample, placed.lists)
    return start


def _shares(sizes: npt.NDArray[np.int64], lists: int) -> npt.NDArray[np.int64]:
    """Lists for each group, by its size; they add up."""
    parts = sizes * (lists / sizes.sum())
    counts = np.floor(parts).astype(np.int64)
    most_left = np.argsort(counts - parts, kind="stable")
    counts[most_left[: lists - counts.sum()]] += 1
    return counts


def _trained(
    points: Floats, count: int, seed: int, rounds: int, start: Floats | None = None
) -> Floats:
    parameters = faiss.ClusteringParameters()
    parameters.seed, parameters.niter, parameters.spherical = seed, rounds, True
    parameters.min_points_per_centroid = 1  # that they are enough is the caller's promise
    clustering = faiss.Clustering(points.shape[1], count, parameters)
    if start is not None:
        faiss.copy_array_to_vector(np.ascontiguousarray(start).ravel(), clustering.centroids)
    clustering.train(np.ascontiguousarray(points), faiss.IndexFlatIP(points.shape[1]))
    return faiss.vector_to_array(clustering.centroids).reshape(count, -1)
