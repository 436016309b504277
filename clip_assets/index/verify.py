"""What an exact index must pass before it becomes a version.

Nothing here is a matter of degree: every id is there, and means the vector that it meant in
its segment. The like for indices with lists is checked as they are joined, see ``engine.lists``.
"""

import numpy as np

from clip_assets.errors import CheckFailedError
from clip_assets.index.engine import ann, held
from clip_assets.index.engine.ann import Index
from clip_assets.index.slots import Slot

ADVICE = "This is a defect of merging; please report it with the version's manifest."


def check_ids(index: Index, slots: list[Slot], side: str) -> None:
    """Make sure that an index holds every id of these ranges, once, and no other.

    Raises:
        CheckFailedError: it does not.
    """
    in_it = held.ids(index)
    ranges = [np.arange(slot.start, slot.start + slot.count) for slot in slots]
    expected = np.concatenate([np.empty(0, np.int64), *ranges])
    if index.ntotal != len(expected) or not np.array_equal(np.sort(in_it), expected):
        raise CheckFailedError(
            f"{side} index",
            f"{len(in_it):,} ids, {len(np.unique(in_it)):,} of them distinct",
            f"the {len(expected):,} ids of {len(slots)} partitions",
            ADVICE,
        )


class Samples:
    """A few vectors of every segment, to be found again in the merged index."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._ids: list[int] = []
        self._vectors: list[ann.Floats] = []

    def take(self, segment: Index, slot: Slot) -> None:
        """Remember the first, middle and last vector of a segment."""
        if not slot.count:
            return
        places = np.unique([0, slot.count // 2, slot.count - 1])
        self._ids.extend((places + slot.start).tolist())
        self._vectors.append(held.exact_vectors(segment, places))

    def check(self, index: Index) -> None:
        """Make sure that the same ids mean the same vectors.

        Raises:
            CheckFailedError: they do not.
        """
        if not self._ids:
            return
        ids = np.array(self._ids)
        same = (held.exact_vectors(index, ids) == np.concatenate(self._vectors)).all(axis=1)
        if not same.all():
            raise CheckFailedError(
                f"{self._side} index",
                f"another vector for id {ids[np.argmin(same)]}",
                "the segment's",
                ADVICE,
            )
