"""How many candidates of a search from afar are put right by their whole vectors.

Each costs a range, and so do lists and rows of the results. What reads vectors is
``far_vectors``; on a disk the number is calibrated, see ``effort.second_look``.
"""

from collections.abc import Sequence

import numpy as np

from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.engine.similar import Similar

RANGES = 150
"""That a query of few results may ask for in all: lists, vectors, rows."""

MOST = 100
"""Candidates of a query of few results."""

FEWEST = 2
"""Times the results, however many ranges lists and rows take."""


def candidates(k: int, ranges: int) -> int:
    """How many of a query's candidates are put right.

    Args:
        k: results that are asked for; the row of each may lie in a range of its own.
        ranges: in which the lists of the query lie.
    """
    return max(FEWEST * k, min(MOST, RANGES - ranges - k))


class FarLook:
    """Puts right what codes found; what is beyond the number of a query's candidates is dropped.

    Args:
        vectors: of the side.
        k: results that are asked for.
        ranges: of each query, in which its lists lie.
    """

    def __init__(self, vectors: Similar, k: int, ranges: Sequence[int]) -> None:
        self._vectors = vectors
        self._candidates = np.array([candidates(k, own) for own in ranges], np.int64)

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """See ``ExactVectors.similarities``; -inf of what is dropped.

        Args:
            queries: (q, dim).
            ids: (q, k), the best by their codes first.
        """
        is_dropped = np.arange(ids.shape[1]) >= self._candidates[:, None]
        similar = self._vectors.similarities(queries, np.where(is_dropped, -1, ids))
        similar[is_dropped] = -np.inf
        return similar
