"""Rows that are good by each of several scores: the intersection of their ranks.

The score of a row is the least of its ranks, each the share of candidates that are no better, so a
threshold of 0.7 keeps what is among the best 30 % of every score.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.settings.curation import RankedTogether
from clip_assets.subsets.cuts import Seen, by_score
from clip_assets.subsets.selection import Floats, Judge, Score, Selection

_NONE = np.empty(0)


def score(selection: Selection, settings: RankedTogether, candidates: Judge) -> Score:
    """The worst rank; of rows without one of the scores there is none.

    The disk has 8 bytes for each candidate and score, which are sorted there.
    """
    scores = [selection.score(one, candidates) for one in settings.ranks]
    columns = candidates.columns.union(*(one.columns for one in scores))
    folder = selection.new_folder()
    seen = [Seen(folder / f"{number}.f8") for number in range(len(scores))]
    for piece, table in selection.tables(columns):
        kept = candidates.decide(piece, table).kept
        for one, of_one in zip(scores, seen, strict=True):
            of_one.add(piece, one.of(piece, table)[kept])
    ordered = [of_one.in_order() for of_one in seen]

    def of(piece: str, table: pa.Table) -> Floats:
        ranks = [
            _ranks(one.of(piece, table), known) for one, known in zip(scores, ordered, strict=True)
        ]
        return np.minimum.reduce(ranks)

    return Score("worst rank", columns, of)


def _ranks(scores: Floats, known: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) the share of known scores that are no better."""
    wide = scores.astype(np.float64)
    ranks = np.searchsorted(known, wide, "right") / max(len(known), 1)
    return np.where(np.isnan(wide), np.nan, ranks)


METHOD = by_score(RankedTogether, score)
