"""The index of one side that lies elsewhere: opened, and searched for what is nearest.

Its lists are the matter of ``index.far.far_lists``, whole vectors that of
``index.far.far_vectors``.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_assets.files.kept import Kept
from clip_assets.index.effort.reach import Effort
from clip_assets.index.engine.similar import Similar

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Selection
    from clip_assets.index.far.far_lists import FarLists

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


def nearest(
    far: "FarLists",
    queries: Floats,
    k: int,
    effort: Effort,
    vectors: Similar | None,
    selected: "Selection | None" = None,
) -> tuple[Floats, Ids]:
    """The k nearest of each query, as ``effort.recall.nearest`` has them.

    Args:
        far: the index.
        queries: (q, dim).
        k: how many.
        effort: how far to look.
        vectors: put the candidates of codes right; None leaves them as codes have them.
        selected: ids that may be found; None: all.
    """
    from clip_assets.index.effort import recall, second_look
    from clip_assets.index.far.far_look import MOST, FarLook

    if vectors is None:
        return second_look.best(*far.search(queries, k, effort.gap, selected), k)
    candidates = max(min(effort.candidates, MOST), 2 * k)
    similarities, ids = far.search(queries, candidates, effort.gap, selected)
    ranges = [far.ranges(query, effort.gap) for query in queries]
    return recall.put_right(similarities, ids, queries, k, FarLook(vectors, k, ranges))
