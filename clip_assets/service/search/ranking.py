"""Where relevance ends in a list of similarities, and which results are nearly the same.

Arithmetic on what a search found; searching is ``retrieval.search``.
"""

import numpy as np
import numpy.typing as npt

from clip_assets.retrieval.served_side import Floats

LEAST_BEND = 0.2
"""How far similarities must lie below the line from the first to the last, as a share of the
difference between them, for an end of relevance: without a bend there is none."""

FEWEST = 10
"""Similarities from which an end is told."""

_ROWS = 256
# Results compared with those before them at a time.


def relevance_ends(similarities: Floats) -> int | None:
    """How many results come before similarity has fallen to where it hardly falls any more.

    It is the place that lies farthest below the line from the first to the last similarity: the
    elbow.

    Args:
        similarities: (n,), best first.

    Returns:
        1 or more; None where they fall as evenly as a line.
    """
    if len(similarities) < FEWEST:
        return None
    values = similarities.astype(np.float64)
    fall = values[0] - values[-1]
    if fall <= 0:
        return None
    line = np.linspace(values[0], values[-1], len(values))
    below = (line - values) / fall
    place = int(below.argmax())
    return place if place and below[place] >= LEAST_BEND else None


def close_enough(similarities: Floats, threshold: float | None, kind: str, end: int | None) -> int:
    """How many of some similarities, best first, a threshold lets through.

    Args:
        similarities: (n,), best first.
        threshold: ``absolute``: the least; ``relative``: the least share of the best one.
        kind: ``absolute``, ``relative`` or ``elbow``.
        end: where relevance ends, for ``elbow``; a threshold then is a least similarity too.
    """
    count = len(similarities)
    if kind == "elbow":
        count = count if end is None else end
        kind = "absolute"
    if threshold is None or not count:
        return count
    best = float(similarities[0])
    # Of a best one below zero a share would be above it.
    least = threshold if kind == "absolute" else best - (1 - threshold) * abs(best)
    return min(count, int((similarities >= np.float32(least)).sum()))


def leaders(vectors: Floats, least: float) -> npt.NDArray[np.int64]:
    """For each of some results the first one that it is nearly the same as, itself if none.

    Args:
        vectors: (n, dim) of length 1, best first; NaN where one is not known.
        least: cosine from which two are nearly the same.

    Returns:
        (n,): the leader of each. Only those that lead themselves have others folded into them,
        so the leaders among the first are the same however many follow.
    """
    known = np.nan_to_num(vectors)
    leader = np.arange(len(known))
    for start in range(0, len(known), _ROWS):
        rows = slice(start, min(start + _ROWS, len(known)))
        alike = known[rows] @ known[: rows.stop].T >= np.float32(least)
        for row in range(rows.start, rows.stop):
            own = np.flatnonzero(alike[row - start, :row] & (leader[:row] == np.arange(row)))
            if len(own):
                leader[row] = own[0]
    return leader
