"""What an exact search finds for a pool's own queries, kept partition by partition.

Comparing queries with every vector of a pool costs what the pool does. So each partition is
compared once, when it is encoded, and a version joins what its partitions have: that costs the
same for each of them. Which queries there are is fixed with the recipe; what is made of the truth
is the matter of ``index.recall``.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.index.ann import Floats
from clip_assets.storage.store import Store

NEIGHBOURS = 10

KEPT = NEIGHBOURS + 1
"""Of each query: one of them may be its own pair."""

SAME = 1e-5
"""Similarities of one query to one vector, computed twice, are this close."""

BLOCK = 2_048
"""Vectors that are compared with all queries at once."""

NEIGHBOUR = np.dtype([("similarity", "<f4"), ("list", "<i4")])
"""A true neighbour: how similar it is, and the inverted list it lies in (0 in an exact index)."""

Truth = npt.NDArray[np.void]
"""(queries, KEPT) of ``NEIGHBOUR``, the most similar first; -inf where there are fewer."""


def nothing(queries: int) -> Truth:
    """The truth of no vectors."""
    truth = np.zeros((queries, KEPT), NEIGHBOUR)
    truth["similarity"] = -np.inf
    return truth


def of(queries: Floats, vectors: Floats, lists: npt.NDArray[np.int64]) -> Truth:
    """The truth of some vectors, each with the list it lies in.

    Args:
        queries: (q, dim).
        vectors: (m, dim); similarities of ``BLOCK`` of them to all queries are in memory.
        lists: (m,).
    """
    blocks = (slice(start, start + BLOCK) for start in range(0, len(vectors), BLOCK))
    parts = (_of_block(queries, vectors[block], lists[block]) for block in blocks)
    return joined(parts, len(queries))


def _of_block(queries: Floats, vectors: Floats, lists: npt.NDArray[np.int64]) -> Truth:
    similar = queries @ vectors.T
    truth = nothing(len(queries))
    most = min(KEPT, len(vectors))
    places = np.argpartition(-similar, most - 1, axis=1)[:, :most]
    truth["similarity"][:, :most] = np.take_along_axis(similar, places, axis=1)
    truth["list"][:, :most] = lists[places]
    return _sorted(truth)


def others(truth: Truth, own: Floats) -> Truth:
    """The truth without the queries' own pairs, which queries from elsewhere have not here.

    Args:
        truth: (q, KEPT).
        own: (q,) similarity of each query to what its own pair has on the side.

    Returns:
        (q, NEIGHBOURS).
    """
    distance = np.abs(truth["similarity"] - own[:, None])
    nearest = distance.argmin(axis=1)
    is_there = np.take_along_axis(distance, nearest[:, None], axis=1)[:, 0] <= SAME
    without = truth.copy()
    without["similarity"][np.flatnonzero(is_there), nearest[is_there]] = -np.inf
    return _sorted(without)[:, :NEIGHBOURS]


def joined(parts: Iterable[Truth], queries: int) -> Truth:
    """The truth of several sets of vectors together."""
    truth = nothing(queries)
    for known in parts:
        truth = _sorted(np.concatenate([truth, known], axis=1))[:, :KEPT]
    return truth


def write(part: Path, truth: Truth) -> None:
    """Write to an unpublished file."""
    with part.open("wb") as file:
        np.save(file, truth, allow_pickle=False)


def read(store: Store, path: str, queries: int) -> Truth:
    """Read a published file.

    Raises:
        SchemaError: it is not of so many queries.
    """
    with store.local(path) as file:
        truth = np.load(file, allow_pickle=False)
    if truth.shape != (queries, KEPT) or truth.dtype != NEIGHBOUR:
        raise SchemaError(
            store.uri(path),
            f"{truth.dtype} of shape {truth.shape}",
            f"the neighbours of {queries:,} queries",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    return truth


def _sorted(truth: Truth) -> Truth:
    order = np.argsort(-truth["similarity"], axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1)
