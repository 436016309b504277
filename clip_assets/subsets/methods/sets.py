"""Rows of several subsets together: of any, of each, of the first alone."""

from collections.abc import Callable
from functools import reduce

import pyarrow as pa

from clip_assets.settings.bases import SubsetSettings
from clip_assets.settings.choices import SetDifference, SetIntersection, SetUnion
from clip_assets.subsets.judgement import Judgement, both, either, without
from clip_assets.subsets.selection import Judge, Method, Selection


def _joined(
    together: Callable[[Judgement, Judgement], Judgement],
) -> Callable[[Selection, SubsetSettings, Judge], Judge]:
    """A method that puts verdicts together from the first to the last."""

    def judge(selection: Selection, settings: SubsetSettings, _candidates: Judge) -> Judge:
        judges = [selection.judge(other) for other in settings.others]

        def decide(piece: str, table: pa.Table) -> Judgement:
            return reduce(together, (judge.decide(piece, table) for judge in judges))

        return Judge(frozenset().union(*(judge.columns for judge in judges)), decide)

    return judge


UNION = Method(SetUnion, _joined(either))
INTERSECTION = Method(SetIntersection, _joined(both))
DIFFERENCE = Method(SetDifference, _joined(without))
