"""DataComp's ``no_filter``: every candidate."""

import pyarrow as pa

from clip_assets.settings.baselines import NoFilter
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import Judge, Method, Selection


def judge(_selection: Selection, _settings: NoFilter, _candidates: Judge) -> Judge:
    """It asks nothing of a row."""
    return Judge(frozenset(), _decide)


def _decide(_piece: str, table: pa.Table) -> Judgement:
    return passing(len(table), {})


METHOD = Method(NoFilter, judge)
