"""What results are like, counted: histograms of numbers, and the most frequent words.

Which results are counted is said by ``finding``.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BINS = 16

MOST_WORDS = 30
"""Of hosts, languages and partitions."""


def facets(similarities: npt.NDArray[np.float32], table: pa.Table) -> dict[str, Any]:
    """Facets of some results.

    Args:
        similarities: (n,) of them.
        table: (n,) rows with some of the columns ``url``, ``language``, ``partition``,
            ``taken_at``, ``original_width`` and ``original_height``; those that are missing are
            not counted.

    Returns:
        Histograms ``similarity``, ``width`` (pixels), ``aspect`` and ``date`` (seconds from the
        beginning of 1970 to ``taken_at``), and the most frequent of each kind of words.
    """
    names = set(table.column_names)
    counted: dict[str, Any] = {"over": len(similarities)}
    counted["similarity"] = _histogram(similarities.astype(np.float64))
    widths = _numbers(table, "original_width")
    counted["width"] = _histogram(widths, whole=True)
    counted["aspect"] = _histogram(widths / np.maximum(_numbers(table, "original_height"), 1))
    if "taken_at" in names:
        seconds = table["taken_at"].cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        counted["date"] = _histogram(seconds.cast(pa.float64()).to_numpy(), whole=True)
    if "url" in names:
        counted["host"] = _words(_host(url) for url in table["url"].to_pylist())
    for name in ("language", "partition"):
        if name in names:
            counted[name] = _words(table[name].to_pylist())
    return counted


def _histogram(values: npt.NDArray[np.float64], *, whole: bool = False) -> dict[str, Any]:
    """Edges, one more than counts; a value is in a bin from its lower edge up to the next.

    Args:
        values: some may be NaN, and are not counted.
        whole: whether they are whole numbers.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return {"edges": [], "counts": []}
    low, high = float(known.min()), float(known.max())
    # Beyond the greatest value, so that it lies below the last edge.
    high = high + 1 if whole else high + max(1e-4, 1e-3 * (high - low))
    counts, edges = np.histogram(known, BINS, (low, high))
    return {"edges": [round(edge, 4) for edge in edges.tolist()], "counts": counts.tolist()}


def _numbers(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    if column not in table.column_names:
        return np.full(len(table), np.nan)
    return table[column].cast(pa.float64()).to_numpy()


def _words(words: Iterable[str | None]) -> list[list[str | int]]:
    """The most frequent ones and how often each is there."""
    counted = Counter(word for word in words if word)
    return [[word, number] for word, number in counted.most_common(MOST_WORDS)]


def _host(url: str | None) -> str | None:
    """As SQL has it: ``lower(split_part(url, '/', 3))``."""
    pieces = (url or "").split("/", 3)
    return pieces[2].lower() if len(pieces) > 2 else None
