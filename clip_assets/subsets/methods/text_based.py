"""DataComp's ``text_based``: captions in one language with a word for something of a list.

A word is for something if its first sense in WordNet has an offset of the list.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from clip_assets.errors import SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.baselines import TextBased
from clip_assets.subsets.judgement import Judgement, Mask, passing
from clip_assets.subsets.languages import detector, spoken
from clip_assets.subsets.selection import Judge, Method, Selection
from clip_assets.subsets.wordnet import WordNet

MOST_WORDS = 2**20
"""Whose answers are kept."""


def judge(_selection: Selection, settings: TextBased, candidates: Judge) -> Judge:
    """Each caption by its words; only those that pass are asked their language.

    Raises:
        SourceError: a file is not there, or is not what it should be.
    """
    words = Words(WordNet(Path(settings.wordnet)), _entities(settings.entities), settings.entities)
    detect = detector(settings)

    def decide(piece: str, table: pa.Table) -> Judgement:
        rules = {"no_entity": words.among(table["text"])}
        if detect is not None:
            asked = rules["no_entity"] & candidates.decide(piece, table).kept
            rules["other_language"] = spoken(detect, settings.language, table["text"], asked)
        return passing(len(table), rules)

    return Judge(candidates.columns | {"text"}, decide)


class Words:
    """Words for something of a list.

    Args:
        wordnet: whose words.
        entities: offsets of the list's senses.
        where: the list, for people.

    Raises:
        SourceFormatError: most of the list is not in this WordNet.
    """

    def __init__(self, wordnet: WordNet, entities: frozenset[int], where: str) -> None:
        self._wordnet = wordnet
        self._entities = entities
        self._known: dict[str, bool] = {}
        known = len(entities & wordnet.offsets)
        if not entities or 2 * known < len(entities):
            raise SourceFormatError(
                where,
                f"{known:,} of {len(entities):,} ids in the WordNet that is given",
                "ids of its senses",
                "ImageNet's are of WordNet 3.0; give that one.",
            )

    def among(self, texts: pa.ChunkedArray) -> Mask:
        """Which captions have such a word, (n,) bool; words are those of ``str.split``."""
        return np.array(
            [
                text is not None and any(self._is_one(word) for word in text.split())
                for text in texts.to_pylist()
            ],
            dtype=bool,
        )

    def _is_one(self, word: str) -> bool:
        is_one = self._known.get(word)
        if is_one is None:
            if len(self._known) >= MOST_WORDS:
                self._known.clear()
            is_one = self._known[word] = self._wordnet.first(word) in self._entities
        return is_one


def _entities(uri: str) -> frozenset[int]:
    """Offsets of a list of senses.

    As DataComp's script does, the letter before the digits is left out: a sense of another part
    of speech with the same offset counts too.
    """
    offsets: set[int] = set()
    for number, line in enumerate(opening.content(uri).splitlines(), 1):
        text = line.decode("utf-8", "replace").strip()
        if not text:
            continue
        if not (text[0].isalpha() and text[1:].isdecimal()):
            raise SourceFormatError(
                f"{uri}, line {number:,}",
                repr(text[:50]),
                "an id of a sense, such as n02084071",
                "Write one id a line, and nothing else.",
            )
        offsets.add(int(text[1:]))
    return frozenset(offsets)


METHOD = Method(TextBased, judge)
