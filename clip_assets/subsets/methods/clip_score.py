"""DataComp's ``clip_score``: by the similarity of image and caption."""

from clip_assets.settings.baselines import ClipScore
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.methods import ranked
from clip_assets.subsets.models_of_scores import OWN
from clip_assets.subsets.selection import Judge, Score, Selection

COLUMNS = {
    "b32": "clip_b32_similarity_score",
    "l14": "clip_l14_similarity_score",
    "own": OWN,
}
"""By whose similarity it is: the column that has it."""


def score(selection: Selection, settings: ClipScore, _candidates: Judge) -> Score:
    """The column of the model that the definition names."""
    return ranked.column(selection, COLUMNS[settings.arch])


METHOD = by_score(ClipScore, score)
