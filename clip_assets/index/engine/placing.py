"""The nearest of many centres to each of many vectors, by groups of centres.

Comparing every vector with every centre is most of what encoding a partition costs. Here centres
are put into groups, and a vector is compared with those of the groups that it is nearest to. So
some vectors come to lie in a list that is nearly as near as the nearest one, see
docs/decisions/0076. Arithmetic only, on vectors as an index has them inside; ``engine.ann`` says
which centres.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

LEAST = 4_096
"""With fewer centres, comparing with all of them costs little."""

LOOKED_INTO = 24
"""Groups of each vector: at most 5 of 1,000 then lie in another list than the nearest."""

ROUNDS = 2
"""Of moving the middles of groups; more make small differences of a sum to large ones."""

SEED = 11

BLOCK = 16_384
"""Vectors whose similarities to all middles are in memory at once."""


class Placed(NamedTuple):
    """Where each of n vectors lies in an index; in an exact one all lie in list 0, at its centre.

    Args:
        lists: (n,) the inverted list.
        similarities: (n,) to its centre, as the index has the vectors.
    """

    lists: Ids
    similarities: Floats

    def some(self, rows: slice) -> "Placed":
        """Of some of them."""
        return Placed(self.lists[rows], self.similarities[rows])


class Neighbourhoods:
    """Centres in as many groups as the square root of their number.

    Args:
        centres: (n, dim), at least ``LEAST``.
    """

    def __init__(self, centres: Floats) -> None:
        count = math.isqrt(len(centres))
        first = np.random.default_rng(SEED).choice(len(centres), count, replace=False)
        middles = centres[np.sort(first)]
        owners = np.argmax(centres @ middles.T, axis=1)
        for _ in range(ROUNDS):
            middles = moved(middles, centres, owners)
            owners = np.argmax(centres @ middles.T, axis=1)
        self._middles = middles
        self._members = [np.flatnonzero(owners == group) for group in range(count)]
        self._centres = [centres[members] for members in self._members]

    def placed(self, vectors: Floats) -> Placed:
        """Where vectors, (n, dim), lie: at one of the nearest centres, mostly the nearest."""
        best = np.full(len(vectors), -np.inf, np.float32)
        numbers = np.zeros(len(vectors), np.int64)
        for start in range(0, len(vectors), BLOCK):
            block = slice(start, start + BLOCK)
            self._compare(vectors[block], best[block], numbers[block])
        return Placed(numbers, best)

    def _compare(self, vectors: Floats, best: Floats, numbers: Ids) -> None:
        """Fill in the best of each vector of a block."""
        scores = vectors @ self._middles.T
        groups = np.argpartition(-scores, LOOKED_INTO - 1, axis=1)[:, :LOOKED_INTO].ravel()
        order = np.argsort(groups, kind="stable")
        cuts = np.searchsorted(groups, np.arange(len(self._members) + 1), sorter=order)
        for group, members in enumerate(self._members):
            rows = order[cuts[group] : cuts[group + 1]] // LOOKED_INTO
            if not len(rows) or not len(members):
                continue
            similar = vectors[rows] @ self._centres[group].T
            nearest = similar.argmax(axis=1)
            own = similar[np.arange(len(rows)), nearest]
            is_better = own > best[rows]
            best[rows[is_better]] = own[is_better]
            numbers[rows[is_better]] = members[nearest[is_better]]


def moved(middles: Floats, vectors: Floats, owners: Ids) -> Floats:
    """Each in the middle of the vectors that are its own, of length 1; without any it stays.

    Args:
        middles: (m, dim).
        vectors: (n, dim).
        owners: (n,) which middle each belongs to.
    """
    sums = np.zeros(middles.shape)
    for start in range(0, len(vectors), BLOCK):
        own = owners[start : start + BLOCK]
        order = np.argsort(own, kind="stable")
        there, firsts = np.unique(own[order], return_index=True)
        rows = vectors[start : start + BLOCK][order]
        sums[there] += np.add.reduceat(rows, firsts, axis=0, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), middles).astype(np.float32)
