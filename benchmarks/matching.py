"""How many captions a CPU second are compared with a list of entries, beside an automaton.

    python benchmarks/matching.py [--captions 500000] [--entries 500000]

Captions are made up: 4 to 20 words by Zipf's law of 200,000; entries are runs of 1 to 3 of the same
words. With ``pyahocorasick`` installed its automaton answers the same, in batches of its own.
"""

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

from clip_assets.subsets.matching import EntryList

WORDS = 200_000


def texts(count: int, low: int, high: int, seed: int) -> list[str]:
    """Runs of words by Zipf's law."""
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    lengths = random.integers(2, 11, WORDS)
    words = ["".join(letters[random.integers(0, 26, length)]) for length in lengths]
    sizes = random.integers(low, high + 1, count)
    numbers = random.zipf(1.2, int(sizes.sum())) % WORDS
    ends = np.cumsum(sizes)
    return [
        " ".join(words[number] for number in numbers[end - size : end])
        for end, size in zip(ends, sizes, strict=True)
    ]


def by_automaton(listed: list[str], captions: list[str]) -> tuple[float, int]:
    """Captions in a CPU second, and matches, of pyahocorasick."""
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(listed):
        automaton.add_word(f" {entry} ", number)
    automaton.make_automaton()
    begun = time.process_time()
    matches = sum(len({entry for _, entry in automaton.iter(f" {text} ")}) for text in captions)
    return len(captions) / (time.process_time() - begun), matches


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=500_000)
    parser.add_argument("--entries", type=int, default=500_000)
    asked = parser.parse_args()
    captions = texts(asked.captions, 4, 20, seed=0)
    listed = list(dict.fromkeys(texts(2 * asked.entries, 1, 3, seed=0)))[: asked.entries]
    column = pa.chunked_array([pa.array(captions)])
    begun = time.process_time()
    entries = EntryList(listed)
    print(f"{len(listed):,} entries, ready in {time.process_time() - begun:.1f} CPU seconds")
    begun = time.process_time()
    matches = entries.match(column)
    rate = len(captions) / (time.process_time() - begun)
    print(f"ours: {rate:,.0f} captions a CPU second, {len(matches.captions):,} matches")
    try:
        rate, count = by_automaton(listed, captions)
        print(f"pyahocorasick: {rate:,.0f} captions a CPU second, {count:,} matches")
    except ImportError:
        print("pyahocorasick is not installed")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
