"""DataComp's ``laion2b``, how LAION-2B was chosen: a similarity, and English as CLD3 tells it."""

import pyarrow as pa

from clip_assets.settings.baselines import ClipScore, Laion2b
from clip_assets.subsets.cuts import cut
from clip_assets.subsets.judgement import Judgement, both, passing
from clip_assets.subsets.languages import cld3, spoken
from clip_assets.subsets.methods import clip_score
from clip_assets.subsets.selection import Judge, Method, Selection

LEAST = ClipScore(baseline="clip_score", arch="b32", threshold=0.28)

LANGUAGE = "en"


def judge(selection: Selection, _settings: Laion2b, candidates: Judge) -> Judge:
    """By both; only captions that are similar enough are asked their language.

    Raises:
        ConfigurationError: the rows have no similarities of ViT-B/32.
    """
    score = clip_score.score(selection, LEAST, candidates)
    alike = cut(selection, LEAST, candidates, score)
    detect = cld3()

    def decide(piece: str, table: pa.Table) -> Judgement:
        judged = alike.decide(piece, table)
        asked = judged.kept & candidates.decide(piece, table).kept
        is_english = spoken(detect, LANGUAGE, table["text"], asked)
        return both(judged, passing(len(table), {"other_language": is_english}))

    return Judge(alike.columns | {"text"}, decide)


METHOD = Method(Laion2b, judge)
