"""DataComp's ``clip_score``: by the similarity of image and caption."""

from clip_assets.settings.choices import ClipScore
from clip_assets.subsets.cuts import cut
from clip_assets.subsets.methods.ranked import score
from clip_assets.subsets.selection import Judge, Method, Selection

COLUMNS = {
    "b32": "clip_b32_similarity_score",
    "l14": "clip_l14_similarity_score",
    "own": "clip_similarity_score",
}
"""By whose similarity it is: the column that has it."""


def judge(selection: Selection, settings: ClipScore, candidates: Judge) -> Judge:
    """By the column of the model that the definition names."""
    return cut(selection, settings, candidates, score(selection, COLUMNS[settings.arch]))


METHOD = Method(ClipScore, judge)
