"""What a search of an index that lies elsewhere finds, by the queries of its calibration.

Such a search has as many lists and whole vectors as ranges and bytes last, see ``effort.afar``.
"""

import numpy as np

from clip_assets.index.effort import afar
from clip_assets.index.effort.afar import ListsAfar
from clip_assets.index.effort.code_ranks import CodeRanks
from clip_assets.index.effort.neighbours import SAME
from clip_assets.index.effort.recall import ALIKE, Question
from clip_assets.index.engine.ann import Floats


class FoundAfar:
    """Tells it of some queries.

    Args:
        ranks: where codes put their neighbours.
        lists: of the index.
    """

    def __init__(self, ranks: CodeRanks, lists: ListsAfar) -> None:
        self._ranks, self._lists = ranks, lists

    def recalls(self, question: Question, gap: float, candidates: int) -> Floats:
        """Recall of each query of the sample, without its own pair.

        Args:
            question: whose sample the queries are.
            gap: that is searched.
            candidates: of a search on a disk.
        """
        k, sample = question.k, question.sample
        most = max(min(candidates, afar.RANGES), afar.FEWEST * k)
        within, looked = self._reached(gap, k)
        places = self._ranks.places(gap, most, within)
        similar, by_codes = self._ranks.similar, self._ranks.by_codes
        is_own = np.abs(similar - question.own[sample, None]) <= SAME
        is_result = (places > 0) & ~is_own
        is_result &= places <= np.clip(looked, afar.FEWEST * k, most)
        is_seen = (places <= looked) & ~np.isnan(similar)
        told = np.where(is_result, np.where(is_seen, similar, by_codes), -np.inf)
        best = np.argsort(-told, axis=1, kind="stable")[:, :k]
        is_near = is_result & (similar >= question.least[sample, None] - ALIKE)
        known = question.known[sample]
        true = np.minimum(np.take_along_axis(is_near, best, axis=1).sum(axis=1), known)
        return np.where(known, true / np.maximum(known, 1), 1).astype(np.float32)

    def _reached(self, gap: float, k: int) -> tuple[Floats, Floats]:
        """(q, 1) gap of the farthest list that is read, and vectors that are looked at."""
        scores = self._ranks.scores
        gaps = np.empty((len(scores), 1), np.float32)
        looked = np.empty_like(gaps)
        for row, own in enumerate(scores):
            numbers = self._lists.nearest(own, gap)
            gaps[row] = own.max() - own[numbers].min(initial=own.max())
            looked[row] = afar.vectors(k, len(self._lists.groups(numbers)))
        return gaps, looked
