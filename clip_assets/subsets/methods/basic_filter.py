"""DataComp's ``basic_filter``: limits of captions and image sizes, and captions in one language.

The rules are those of ``baselines/apply_filter.py`` of mlfoundations/datacomp.
"""

import numpy as np
import pyarrow as pa

from clip_assets.settings.baselines import BasicFilter
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.languages import detector, spoken
from clip_assets.subsets.selection import Judge, Method, Selection

MORE_WORDS_THAN = 2
MORE_CHARACTERS_THAN = 5
LEAST_SIDE = 200
GREATEST_ASPECT = 3.0

COLUMNS = frozenset(("text", "original_width", "original_height"))

_SPACE = (
    r"\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)
# What Python's str.split, by which DataComp counts words, takes for space; \s is ASCII alone.


def more_words_than(count: int, text: str) -> str:
    """SQL: whether ``str.split`` of a text gives more words than that."""
    word = f"[^{_SPACE}]+"
    return f"regexp_matches({text}, '{word}([{_SPACE}]+{word}){{{count}}}')"


_LEAST, _GREATEST = (f"{end}(original_width, original_height)" for end in ("least", "greatest"))

RULES = {
    "few_words": more_words_than(MORE_WORDS_THAN, "text"),
    "few_characters": f"length(text) > {MORE_CHARACTERS_THAN}",
    "small_image": f"{_LEAST} >= {LEAST_SIDE}",
    "long_image": f"{_GREATEST} / {_LEAST} <= {GREATEST_ASPECT}",
}
"""What a row must pass, by the reason for which it is dropped, in SQL; null is not passed."""


def judge(selection: Selection, settings: BasicFilter, candidates: Judge) -> Judge:
    """Each row by the rules alone; only captions that pass the others are asked their language.

    Raises:
        SourceError: the language model is not there, or cannot be used.
    """
    cases = " ".join(
        f"WHEN ({passes}) IS NOT TRUE THEN {place}" for place, passes in enumerate(RULES.values())
    )
    detect = detector(settings)

    def decide(piece: str, table: pa.Table) -> Judgement:
        rows = selection.database().from_arrow(table.select(sorted(COLUMNS)))
        judged = rows.project(f"CASE {cases} ELSE {len(RULES)} END AS rule").to_arrow_table()
        failed = np.asarray(judged["rule"].to_numpy())
        rules = {reason: failed != place for place, reason in enumerate(RULES)}
        if detect is not None:
            asked = (failed == len(RULES)) & candidates.decide(piece, table).kept
            rules["other_language"] = spoken(detect, settings.language, table["text"], asked)
        return passing(len(table), rules)

    return Judge(candidates.columns | COLUMNS, decide)


METHOD = Method(BasicFilter, judge)
