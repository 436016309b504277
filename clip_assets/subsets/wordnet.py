"""WordNet's own files, read for what subsets ask of them: the first sense of a word.

What is in a file is said by the manual page wndb(5WN), how words are reduced to those that are
there by morphy(7WN). Which senses are wanted is the business of methods.
"""

from collections.abc import Iterator
from pathlib import Path

from clip_assets.errors import SourceError, SourceFormatError, SourceMissingError

CATEGORIES = ("noun", "verb", "adj", "adv")
"""Syntactic categories, in the order in which senses of a word are asked for."""

ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),  # not in the manual page; NLTK has it
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""How an inflected word ends, and what stands in its place."""


class WordNet:
    """The words of a WordNet.

    Args:
        folder: of its files ``index.noun``, ``noun.exc`` and so on.

    Attributes:
        firsts: by category, every word of it with the offset of its first sense.
        offsets: of every sense.

    Raises:
        SourceMissingError: there is no such folder, or it lacks a file.
        SourceFormatError: a file is not of WordNet's form.
    """

    def __init__(self, folder: Path) -> None:
        self.firsts: dict[str, dict[str, int]] = {}
        self.offsets: set[int] = set()
        self._irregular: dict[str, dict[str, list[str]]] = {}
        for category in CATEGORIES:
            firsts: dict[str, int] = {}
            for word, senses in _index(folder / f"index.{category}"):
                firsts[word] = senses[0]
                self.offsets.update(senses)
            self.firsts[category] = firsts
            words = map(str.split, _lines(folder / f"{category}.exc"))
            self._irregular[category] = {inflected: base for inflected, *base in words}

    def first(self, word: str) -> int | None:
        """The offset of a word's first sense, None if it has none.

        It is that of ``nltk.corpus.wordnet.synsets(word)[0]``: a noun if it can be one, in
        whichever form; offsets of different categories can be the same.
        """
        word = word.lower()
        for category in CATEGORIES:
            firsts = self.firsts[category]
            for form in (word, *self._forms(word, category)):
                if form in firsts:
                    return firsts[form]
        return None

    def _forms(self, word: str, category: str) -> Iterator[str]:
        """What a word may be an inflection of."""
        irregular = self._irregular[category].get(word)
        if irregular is not None:
            yield from irregular
            return
        for end, instead in ENDINGS[category]:
            if word.endswith(end):
                yield word[: -len(end)] + instead


def _index(file: Path) -> Iterator[tuple[str, list[int]]]:
    """Words with the offsets of their senses."""
    for number, line in enumerate(_lines(file), 1):
        if line.startswith(" "):  # the licence
            continue
        fields = line.split()
        try:
            senses = [int(field) for field in fields[-int(fields[2]) :]]
        except (ValueError, IndexError) as error:
            raise SourceFormatError(
                f"{file}, line {number:,}",
                repr(line[:60]),
                "a word, and at the end the offsets of its senses",
                "Give the folder of WordNet 3.0's own files.",
            ) from error
        yield fields[0], senses


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        raise SourceMissingError(
            str(file),
            "nothing",
            "a file of WordNet 3.0",
            "Install Debian's package wordnet-base, or give the folder of another copy as wordnet.",
        ) from None
    except (OSError, ValueError) as error:
        raise SourceError(
            str(file), str(error), "a text of WordNet's", "Give the folder of its files."
        ) from error
