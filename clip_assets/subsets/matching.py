"""Which entries of a list a caption has, for very many captions: by hashes of runs of words.

An entry is had where it stands between spaces, as MetaCLIP has it: ``, . ; : ? ! ```` are words of
their own, tabs and line ends are spaces, upper and lower case differ.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_SPACE = 32
_WORDS = np.isin(np.arange(256), np.frombuffer(b",.;:?!`", np.uint8))
_SPACES = np.isin(np.arange(256), np.frombuffer(b"\t\n\r", np.uint8))

# One number for each byte, and a base that has an inverse modulo 2^64.
_OF_BYTE = np.random.default_rng(2024).integers(0, 2**64, 256, np.uint64)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))

SLOTS_PER_ENTRY = 4
LONGEST = 2**20
"""Characters of captions that are hashed together."""


class Matches(NamedTuple):
    """EntryList that captions have, each once for a caption, in the order of captions.

    Args:
        captions: (m,) number of the caption.
        entries: (m,) number of the entry.
    """

    captions: Ints
    entries: Ints


class EntryList:
    """A list of entries to look for. Memory: some 60 bytes for each word of an entry.

    Two texts count as one if 64 bits of them agree, which of a million entries and a billion
    captions happens about once in a hundred such lists.

    Args:
        texts: each once.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        encoded = [text.encode() for text in texts]
        known: dict[bytes, int] = {}
        for text in encoded:
            end = text.find(b" ")
            while end >= 0:
                known[text[:end]] = 0
                end = text.find(b" ", end + 1)
        longer = list(known)
        whole = {text: number for number, text in enumerate(encoded)}
        every = list({**dict.fromkeys(longer), **dict.fromkeys(whole)})
        self._keys = _of_texts(every)
        self._entry = np.array([whole.get(text, -1) for text in every], np.int64)
        self._goes_on = np.array([text in known for text in every], np.bool_)
        self._bits = max(int(SLOTS_PER_ENTRY * max(len(every), 1)).bit_length(), 4)
        slots = self._slots(self._keys)
        order = np.argsort(slots, kind="stable")
        self._keys, self._entry = self._keys[order], self._entry[order]
        self._goes_on = self._goes_on[order]
        self._starts = np.searchsorted(slots[order], np.arange(2**self._bits + 1)).astype(np.int32)

    def _slots(self, keys: Hashes) -> Ints:
        with np.errstate(over="ignore"):
            return ((keys * _BASE) >> np.uint64(64 - self._bits)).astype(np.int64)

    def _find(self, keys: Hashes) -> Ints:
        """(n,) place of each key, -1 for those that are not known."""
        slots = self._slots(keys)
        places = self._starts[slots].astype(np.int64)
        ends = self._starts[slots + 1]
        answer = np.full(len(keys), -1, np.int64)
        left = np.flatnonzero(places < ends)
        places = places[left]
        while len(left):
            hit = self._keys[places] == keys[left]
            answer[left[hit]] = places[hit]
            on = ~hit & (places + 1 < ends[left])
            left, places = left[on], places[on] + 1
        return answer

    def match(self, captions: pa.ChunkedArray) -> Matches:
        """The entries of captions.

        Args:
            captions: (n,) texts; null has none.
        """
        done: list[Matches] = []
        first = 0
        for chunk in captions.cast(pa.large_string()).chunks:
            for some in _small(chunk):
                numbers, entries = self._match(*_content(some))
                done.append(Matches(numbers + first, entries))
                first += len(some)
        none = np.empty(0, np.int64)
        return Matches(*(np.concatenate([none, *(some[side] for some in done)]) for side in (0, 1)))

    def _match(self, content: Bytes, ends: Ints) -> Matches:
        spaced, ends = _spaced(content, ends)
        spaces = np.flatnonzero(spaced == _SPACE)
        # Words lie between spaces; the last space of a caption is the first of the next.
        captions = np.searchsorted(ends, spaces[:-1], "right")
        sums, powers = _sums(spaced)
        runs = np.arange(len(spaces) - 1)
        numbers, entries, words = [], [], 1
        while len(runs):
            start, stop = spaces[runs] + 1, spaces[runs + words]
            with np.errstate(over="ignore"):
                keys = (sums[stop] - sums[start]) * powers[start]
            places = self._find(keys)
            known = places >= 0
            runs, places = runs[known], places[known]
            is_entry = self._entry[places] >= 0
            numbers.append(captions[runs[is_entry]])
            entries.append(self._entry[places[is_entry]])
            words += 1
            runs = runs[self._goes_on[places]]
            runs = runs[runs + words < len(spaces)]
            runs = runs[captions[runs] == captions[runs + words - 1]]
        return _once(np.concatenate(numbers), np.concatenate(entries), len(self.texts))


def _once(numbers: Ints, entries: Ints, count: int) -> Matches:
    both = np.unique(numbers * count + entries)
    return Matches(both // max(count, 1), both % max(count, 1))


def _small(chunk: pa.Array) -> list[pa.Array]:
    """A chunk in slices of about ``LONGEST`` bytes."""
    ends = _offsets(chunk)
    cuts = np.searchsorted(ends, np.arange(ends[0] + LONGEST, ends[-1], LONGEST)).tolist()
    bounds = sorted({0, *cuts, len(chunk)})
    return [chunk.slice(one, other - one) for one, other in pairwise(bounds)]


def _content(some: pa.Array) -> tuple[Bytes, Ints]:
    """The bytes of texts, one after the other, and where each ends."""
    if some.null_count:  # what is null may have bytes
        return _content(some.fill_null(""))
    offsets = _offsets(some)
    stored = some.buffers()[2]
    content = np.frombuffer(memoryview(stored) if stored else b"", np.uint8)
    return content[offsets[0] : offsets[-1]], offsets[1:] - offsets[0]


def _offsets(some: pa.Array) -> Ints:
    """(n + 1,) where each text begins, and where the last one ends."""
    stored = some.buffers()[1]
    if stored is None or not len(some):
        return np.zeros(1, np.int64)
    return np.frombuffer(memoryview(stored), np.int64)[some.offset : some.offset + len(some) + 1]


def _spaced(content: Bytes, ends: Ints) -> tuple[Bytes, Ints]:
    """Texts with a space before the first and after each, and about punctuation.

    Returns:
        The bytes, and for each text where its last space is.
    """
    content = np.where(_SPACES[content], np.uint8(_SPACE), content)
    is_word = _WORDS[content]
    lengths = np.where(is_word, 3, 1)
    # The space after each text is one more byte of its last place.
    wide = np.zeros(len(content) + 1, np.int64)
    np.cumsum(lengths, out=wide[1:])
    new_ends = wide[ends] + np.arange(1, len(ends) + 1)
    total = int(wide[-1]) + len(ends) + 1
    spaced = np.full(total, _SPACE, np.uint8)
    of_text = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    spaced[wide[:-1] + of_text + 1 + is_word] = content
    return spaced, new_ends


def _sums(spaced: Bytes) -> tuple[Hashes, Hashes]:
    """Sums of hashed bytes up to each place, and what brings a sum to place 0."""
    powers, inverses = _powers(len(spaced) + 1)
    sums = np.zeros(len(spaced) + 1, np.uint64)
    with np.errstate(over="ignore"):
        np.cumsum(_OF_BYTE[spaced] * powers[: len(spaced)], out=sums[1:])
    return sums, inverses


_known: list[Hashes] = [np.ones(1, np.uint64), np.ones(1, np.uint64)]


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """(count,) powers of the base and of its inverse."""
    if len(_known[0]) < count:
        size = max(count, LONGEST)
        with np.errstate(over="ignore"):
            for side, base in enumerate((_BASE, _INVERSE)):
                factors = np.full(size, base)
                factors[0] = 1
                _known[side] = np.cumprod(factors, dtype=np.uint64)
    return _known[0], _known[1]


def _of_texts(texts: Sequence[bytes]) -> Hashes:
    """(n,) hash of each text."""
    if not texts:
        return np.empty(0, np.uint64)
    joined = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([len(text) for text in texts])
    keys = np.empty(len(texts), np.uint64)
    start = 0
    while start < len(texts):
        begun = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, begun + LONGEST)))
        last = int(ends[stop - 1])
        sums, inverses = _sums(joined[begun:last])
        bounds = np.append(0, ends[start:stop] - begun)
        with np.errstate(over="ignore"):
            keys[start:stop] = (sums[bounds[1:]] - sums[bounds[:-1]]) * inverses[bounds[:-1]]
        start = stop
    return keys
