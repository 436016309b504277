"""Whole vectors put right what codes found from afar, as far as ranges and bytes last.

How many are left for vectors is said by ``effort.afar``; what reads them is ``far_vectors``. On a
disk the number is calibrated, see ``effort.second_look``.
"""

from collections.abc import Sequence

import numpy as np

from clip_assets.index.effort import afar
from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.far.far_lists import Cost
from clip_assets.index.far.far_vectors import VectorsElsewhere


class FarLook:
    """Puts right what codes found, the best of it; the rest is as codes have it.

    Where ``afar.FEWEST`` were looked at for each result, the rest is no result.

    Args:
        vectors: of the side.
        k: results that are asked for.
        spent: of each query, on its lists.
    """

    def __init__(self, vectors: VectorsElsewhere, k: int, spent: Sequence[Cost]) -> None:
        self._vectors, self._k, self._spent = vectors, k, spent

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """See ``ExactVectors.similarities``; NaN of what was not looked at, -inf of no result.

        Args:
            queries: (q, dim).
            ids: (q, k), the best by their codes first.
        """
        some, looked = self._k * afar.FEWEST, np.full(ids.shape, -1, np.int64)
        counts: list[int] = []
        for own, looked_at, spent in zip(ids, looked, self._spent, strict=True):
            there = own[own >= 0]
            ranges, size_bytes = afar.vectors(self._k, spent.ranges), afar.BYTES - spent.size_bytes
            count = self._vectors.within(there, queries.shape[1], ranges, size_bytes)
            looked_at[:count] = there[:count]
            counts.append(max(count, some))
        similar = self._vectors.similarities(queries, looked)
        similar[np.arange(ids.shape[1]) >= np.array(counts)[:, None]] = -np.inf
        return similar
