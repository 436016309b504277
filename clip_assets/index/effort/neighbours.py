"""What an exact search finds for a pool's own queries, kept partition by partition.

Comparing queries with every vector of a pool costs what the pool does. So each partition is
compared once, when it is encoded, and a version joins what its partitions have: that costs the
same for each of them. Which queries there are is fixed with the recipe; what is made of the truth
is the matter of ``effort.recall``. Of all queries a few neighbours are kept, of some of them many:
recall of many neighbours is known as well by fewer queries.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.index.engine.ann import Floats
from clip_assets.storage.store import Store

NEIGHBOURS = 10

KEPT = NEIGHBOURS + 1
"""Of each query: one of them may be its own pair."""

DEEP = 100
DEEP_KEPT = DEEP + 1
"""Of each of the queries that many neighbours are kept of."""

DEEP_QUERIES = 1_000
"""At most; they lie evenly among the others."""

SAME = 1e-5
"""Similarities of one query to one vector, computed twice, are this close."""

BLOCK = 2_048
"""Vectors that are compared with all queries at once."""

GROUPS_OF_EACH = 4
"""Groups of vectors for each neighbour that is kept: then 1.15 times as many are compared."""

MOST_ALIKE = 4
"""Times the neighbours that are kept, of which a query may have as many that are as near."""

NEIGHBOUR = np.dtype([("similarity", "<f4"), ("list", "<i4")])
"""A true neighbour: how similar it is, and the inverted list it lies in (0 in an exact index)."""

Neighbours = npt.NDArray[np.void]
"""(queries, kept) of ``NEIGHBOUR``, the most similar first; -inf where there are fewer."""


class Truth(NamedTuple):
    """What an exact search finds.

    Args:
        near: (q, KEPT), of all queries.
        deep: (some, DEEP_KEPT), of those that ``deep_ones`` says.
    """

    near: Neighbours
    deep: Neighbours


def deep_ones(queries: int) -> slice:
    """Of which of so many queries many neighbours are kept."""
    return slice(None, None, max(1, -(-queries // DEEP_QUERIES)))


def nothing(queries: int) -> Truth:
    """The truth of no vectors."""
    return Truth(_nothing(queries, KEPT), _nothing(_deep_count(queries), DEEP_KEPT))


def _deep_count(queries: int) -> int:
    return len(range(queries)[deep_ones(queries)])


def _nothing(queries: int, kept: int) -> Neighbours:
    truth = np.zeros((queries, kept), NEIGHBOUR)
    truth["similarity"] = -np.inf
    return truth


def of(
    queries: Floats,
    vectors: Floats,
    lists: npt.NDArray[np.int64],
    known: Truth | None = None,
) -> Truth:
    """The truth of some vectors, each with the list it lies in, and of those that are known.

    Args:
        queries: (q, dim).
        vectors: (m, dim); similarities of ``BLOCK`` of them to all queries are in memory.
        lists: (m,).
        known: truth of other vectors; the more it knows, the less is to be sorted.
    """
    truth = known or nothing(len(queries))
    some = deep_ones(len(queries))
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        similar = queries @ vectors[block].T
        near = _with(truth.near, similar, lists[block])
        truth = Truth(near, _with(truth.deep, similar[some], lists[block]))
    return truth


def _with(truth: Neighbours, similar: Floats, lists: npt.NDArray[np.int64]) -> Neighbours:
    """Neighbours, some more vectors being there, (q, m) similar."""
    # All but the first blocks have few that are nearer than what is known, and of few queries.
    nearer = np.flatnonzero(similar.max(axis=1, initial=-np.inf) > truth["similarity"][:, -1])
    if not len(nearer):
        return truth
    known = truth.copy()
    known[nearer] = _nearer(truth[nearer], similar[nearer], lists)
    return known


def _nearer(truth: Neighbours, similar: Floats, lists: npt.NDArray[np.int64]) -> Neighbours:
    """The same of queries of which each has some that is nearer."""
    least, kept, width = truth["similarity"][:, -1], truth.shape[1], similar.shape[1]
    if not np.isfinite(least).all():
        least = np.maximum(least, _reached(similar, kept))
    # Not nonzero of two dimensions, which took as long as the product of matrices.
    queries, places = np.divmod(np.flatnonzero(similar >= least[:, None]), width)
    counts = np.bincount(queries, minlength=len(similar))
    most = int(counts.max())
    if most > MOST_ALIKE * kept:
        return _joined(truth, _best(similar, lists, kept))
    more = np.zeros((len(similar), most), NEIGHBOUR)
    more["similarity"] = -np.inf
    columns = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    more["similarity"][queries, columns] = similar[queries, places]
    more["list"][queries, columns] = lists[places]
    return _joined(truth, more)


def _reached(similar: Floats, kept: int) -> Floats:
    """(q,) what so many of each row reach, and few more; -inf where there are not so many.

    Of groups of vectors the best ones are looked at: so many of them are at least as many vectors.
    """
    groups = min(GROUPS_OF_EACH * kept, similar.shape[1])
    if groups < kept:
        return np.full(len(similar), -np.inf, np.float32)
    whole = similar[:, : similar.shape[1] // groups * groups]
    best = whole.reshape(len(similar), -1, groups).max(axis=1)
    return np.partition(best, groups - kept, axis=1)[:, groups - kept]


def _best(similar: Floats, lists: npt.NDArray[np.int64], kept: int) -> Neighbours:
    truth = _nothing(len(similar), kept)
    most = min(kept, similar.shape[1])
    places = np.argpartition(-similar, most - 1, axis=1)[:, :most]
    truth["similarity"][:, :most] = np.take_along_axis(similar, places, axis=1)
    truth["list"][:, :most] = lists[places]
    return _sorted(truth)


def others(truth: Neighbours, own: Floats) -> Neighbours:
    """Neighbours without the queries' own pairs, which queries from elsewhere have not here.

    Args:
        truth: (q, kept).
        own: (q,) similarity of each query to what its own pair has on the side.

    Returns:
        (q, kept - 1).
    """
    distance = np.abs(truth["similarity"] - own[:, None])
    nearest = distance.argmin(axis=1)
    is_there = np.take_along_axis(distance, nearest[:, None], axis=1)[:, 0] <= SAME
    without = truth.copy()
    without["similarity"][np.flatnonzero(is_there), nearest[is_there]] = -np.inf
    return _sorted(without)[:, :-1]


def joined(parts: Iterable[Truth], queries: int) -> Truth:
    """The truth of several sets of vectors together."""
    truth: Truth | None = None
    for known in parts:
        truth = known if truth is None else Truth(*map(_joined, truth, known))
    return truth or nothing(queries)


def _joined(first: Neighbours, second: Neighbours) -> Neighbours:
    return _sorted(np.concatenate([first, second], axis=1))[:, : first.shape[1]]


def write(part: Path, truth: Truth) -> None:
    """Write to an unpublished file.

    One row of both parts behind each other; of the deep one only columns that hold something, so
    that a small partition has a small file.
    """
    held = int(np.isfinite(truth.deep["similarity"]).any(axis=0).sum())
    with part.open("wb") as file:
        flat = [truth.near.ravel(), truth.deep[:, :held].ravel()]
        np.save(file, np.concatenate(flat), allow_pickle=False)


def read(store: Store, path: str, queries: int) -> Truth:
    """Read a published file.

    Raises:
        SchemaError: it is not of so many queries.
    """
    with store.local(path) as file:
        stored = np.load(file, allow_pickle=False)
    truth, deep = nothing(queries), _deep_count(queries)
    held, rest = divmod(stored.size - truth.near.size, max(1, deep))
    if stored.dtype != NEIGHBOUR or stored.ndim != 1 or rest or not 0 <= held <= DEEP_KEPT:
        raise SchemaError(
            store.uri(path),
            f"{stored.dtype} of shape {stored.shape}",
            f"the neighbours of {queries:,} queries",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    truth.deep[:, :held] = stored[truth.near.size :].reshape(deep, held)
    return truth._replace(near=stored[: truth.near.size].reshape(queries, KEPT))


def _sorted(truth: Neighbours) -> Neighbours:
    order = np.argsort(-truth["similarity"], axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1)
