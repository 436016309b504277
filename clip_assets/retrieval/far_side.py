"""The index of one side that lies elsewhere: opened, and searched for what is nearest.

Its lists are the matter of ``index.far.far_lists``, whole vectors that of
``index.far.far_vectors``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_assets.files.kept import Kept
from clip_assets.index.effort.reach import WIDER, Effort

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Selection
    from clip_assets.index.far.far_lists import Cost, FarLists
    from clip_assets.index.far.far_vectors import VectorsElsewhere

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def lists(uri: str, kept: Kept) -> "FarLists":
    """An index file, opened if it is not kept.

    Raises:
        SourceError: it cannot be read, or not in parts.
    """
    from clip_assets.index.far.far_lists import FarLists

    key = "index", uri
    far: FarLists | None = kept.get(key)
    if far is None:
        far = FarLists(uri, kept)
        kept.put(key, far, far.size_bytes, is_dear=True)
    return far


@dataclass(frozen=True, slots=True)
class FarSearch:
    """What a search of one side asks for beside its queries.

    Args:
        far: the index.
        vectors: put the best candidates of codes right; None leaves them as codes have them.
        is_used: which of some ids may be results.
        selected: ids that may be found; None: all.
    """

    far: "FarLists"
    vectors: "VectorsElsewhere | None"
    is_used: Callable[[Ids], npt.NDArray[np.bool_]]
    selected: "Selection | None"

    def nearest(self, queries: Floats, k: int, effort: Effort) -> tuple[Floats, Ids]:
        """The k nearest of each query, as far as ``effort.afar`` lets a search go.

        Args:
            queries: (q, dim).
            k: how many.
            effort: how far to look; further, where that gives fewer than k.

        Returns:
            Similarities and ids, (q, k) each; -inf and -1 where there are fewer.
        """
        from clip_assets.index.effort import afar, recall, second_look
        from clip_assets.index.far.far_look import FarLook

        if self.vectors is None:
            return second_look.best(*self._by_codes(queries, k, k, effort)[:2], k)
        most = max(min(effort.candidates, afar.RANGES), afar.FEWEST * k)
        similarities, ids, spent = self._by_codes(queries, k, most, effort)
        return recall.put_right(similarities, ids, queries, k, FarLook(self.vectors, k, spent))

    def _by_codes(
        self, queries: Floats, k: int, most: int, effort: Effort
    ) -> tuple[Floats, Ids, list["Cost"]]:
        """The best by codes, at most so many, and what was spent on lists."""
        from clip_assets.index.far.far_lists import Cost

        far, wanted, is_first = self.far, most, True
        similarities = np.full((len(queries), most), -np.inf, np.float32)
        ids, spent = np.full(similarities.shape, -1, np.int64), [Cost(0, 0)] * len(queries)
        open_ones = list(range(len(queries)))
        while open_ones:
            size, still_open = min(wanted, far.index.ntotal), list[int]()
            lists = [far.looked_into(queries[number], effort.gap) for number in open_ones]
            own = far.search(queries[open_ones], lists, size, effort.gap, self.selected)
            for number, numbers, near, near_ids in zip(open_ones, lists, *own, strict=True):
                best = np.flatnonzero(self.is_used(near_ids))[:most]
                is_cut = near_ids[-1] >= 0 and size < far.index.ntotal
                if len(best) < k and (
                    is_cut or numbers != far.looked_into(queries[number], effort.further.gap)
                ):
                    # Unused ids, or lists with too few vectors: look further.
                    still_open.append(number)
                    continue
                ids[number, : len(best)] = near_ids[best]
                similarities[number, : len(best)] = near[best]
                spent[number] = far.cost(numbers, at_once=is_first)
            open_ones, is_first = still_open, False
            wanted, effort = wanted * WIDER, effort.further
        return similarities, ids, spent
