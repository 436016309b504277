"""Rows drawn at random by their uids, so that what was drawn stays drawn."""

import pyarrow as pa

from clip_assets.settings.choices import Drawn
from clip_assets.storage import uids
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import UID, Judge, Method, Selection


def judge(_selection: Selection, settings: Drawn, _candidates: Judge) -> Judge:
    """Each row by a number that follows from its uid and the seed alone."""

    def decide(_piece: str, table: pa.Table) -> Judgement:
        drawn = uniform(uids.pairs(table[UID]), settings.seed) < settings.sample
        return passing(len(table), {"not_drawn": drawn})

    return Judge(frozenset([UID]), decide)


METHOD = Method(Drawn, judge)
