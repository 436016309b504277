"""What a merged index must pass before it becomes a version.

Nothing here is a matter of degree: every id is there, and means the vector that it meant in
its segment. How good approximate searching is in numbers is the matter of ``index.recall``.
"""

import numpy as np

from clip_assets.errors import CheckFailedError
from clip_assets.index import ann
from clip_assets.index.ann import Index
from clip_assets.index.slots import Slot

PROBES = 64
"""Inverted lists to look into for a vector itself; its own is among the nearest few."""

NEIGHBOURS = 10

SEARCHED = 50
"""Samples that are searched for; all of them are compared."""

ROUNDING = 1e-3

ADVICE = "This is a defect of merging; please report it with the version's manifest."


def check_ids(index: Index, slots: list[Slot], side: str) -> None:
    """Make sure that an index holds every id of these ranges, once, and no other.

    Raises:
        CheckFailedError: it does not.
    """
    held = ann.ids(index)
    ranges = [np.arange(slot.start, slot.start + slot.count) for slot in slots]
    expected = np.concatenate([np.empty(0, np.int64), *ranges])
    if index.ntotal != len(expected) or not np.array_equal(np.sort(held), expected):
        raise CheckFailedError(
            f"{side} index",
            f"{len(held):,} ids, {len(np.unique(held)):,} of them distinct",
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
        self._vectors.append(ann.vectors(segment, places))

    def check(self, index: Index) -> None:
        """Make sure that the same ids mean the same vectors, and that searching finds them.

        Raises:
            CheckFailedError: it is not so.
        """
        if not self._ids:
            return
        ids, vectors = np.array(self._ids), np.concatenate(self._vectors)
        same = (ann.vectors(index, ids) == vectors).all(axis=1)
        if not same.all():
            raise self._error(f"another vector for id {ids[np.argmin(same)]}", "the segment's")
        step = -(-len(ids) // SEARCHED)
        ids, vectors = ids[::step], vectors[::step]
        similarities, nearest = ann.search(index, vectors, NEIGHBOURS, PROBES)
        own = (vectors * vectors).sum(axis=1)
        # A full page of better ones is no fault: copies of one image are each other's best.
        is_found = (nearest == ids[:, None]).any(axis=1) | (similarities[:, -1] >= own - ROUNDING)
        if not is_found.all():
            lost = ids[np.argmin(is_found)]
            raise self._error(f"no id {lost} in a search by its vector", "it in the results")

    def _error(self, found: str, expected: str) -> CheckFailedError:
        return CheckFailedError(f"{self._side} index", found, expected, ADVICE)
