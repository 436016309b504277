"""How far a search goes of an index that lies elsewhere: as far as ranges and bytes last.

They are spent on lists first, the nearest first, and then on whole vectors, those that are best by
their codes first. What reads both is ``index.far``; what is found so is told by
``effort.calibration``.
"""

import numpy as np
import numpy.typing as npt

from clip_assets.files import far_ranges
from clip_assets.index.engine.ann import Floats, Ids

RANGES = 150
"""That a query may ask for: lists and vectors, and rows of few results."""

BYTES = 10_000_000
"""Of lists and vectors that are read for a query, with what lies between neighbours."""

MOST_LISTS = 100
"""That a query looks into."""

LISTS_BYTES = BYTES - MOST_LISTS * far_ranges.NEIGHBOUR_BYTES
"""Of them, without what lies between; the nearest is read, however long it is."""

FEWEST = 2
"""Vectors for each result, for which rows of results make room."""

ID_BYTES = 8
"""Beside a code in a list."""


def vectors(k: int, ranges: int) -> int:
    """Ranges that are left for whole vectors.

    Args:
        k: results that are asked for. The row of each may lie in a range of its own, which is
            reserved as long as there are ``FEWEST`` vectors for each result.
        ranges: in which the lists lie.
    """
    left = RANGES - ranges
    return max(left - k, min(FEWEST * k, left))


class ListsAfar:
    """The lists of an index as its file has them, one after the other.

    Args:
        sizes: (lists,) vectors in each.
        code_bytes: of a vector.
    """

    def __init__(self, sizes: npt.NDArray[np.int64], code_bytes: int) -> None:
        self.lengths = sizes * (code_bytes + ID_BYTES)
        self.starts = np.cumsum(self.lengths) - self.lengths

    @property
    def nbytes(self) -> int:
        """In memory."""
        return self.lengths.nbytes + self.starts.nbytes

    def nearest(self, scores: Floats, gap: float, most: int = MOST_LISTS) -> Ids:
        """Numbers of the lists that a query looks into, the nearest first; none is empty.

        Args:
            scores: (lists,) similarity of the query to each centre.
            gap: see ``ann.search``.
            most: of them, empty ones too; at most ``MOST_LISTS``.
        """
        most = min(most, MOST_LISTS, len(scores))
        numbers = np.argpartition(-scores, most - 1)[:most]
        numbers = numbers[np.argsort(-scores[numbers], kind="stable")]
        is_read = scores[numbers] >= scores[numbers[0]] - np.float32(gap)
        is_read &= np.cumsum(self.lengths[numbers]) <= LISTS_BYTES
        is_read[0] = True
        numbers = numbers[is_read]
        return numbers[self.lengths[numbers] > 0]

    def groups(self, numbers: Ids) -> list[Ids]:
        """Some lists, ascending; those that are read in one range together."""
        if not len(numbers):
            return []
        ascending = np.sort(numbers)
        ends = self.starts[ascending] + self.lengths[ascending]
        is_apart = self.starts[ascending[1:]] - ends[:-1] > far_ranges.NEIGHBOUR_BYTES
        return np.split(ascending, np.flatnonzero(is_apart) + 1)

    def range(self, group: Ids) -> tuple[int, int]:
        """From where to where neighbours lie, counted from the first list on."""
        last = group[-1]
        return int(self.starts[group[0]]), int(self.starts[last] + self.lengths[last])
