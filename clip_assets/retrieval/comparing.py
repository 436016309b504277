"""Two index versions side by side: what each finds of a file of queries, and how fast.

What the versions hold is compared by ``index.versions``.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clip_assets.errors import ConfigurationError, NotReadyError
from clip_assets.index import versions
from clip_assets.index.engine.ann import Floats
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import queries
from clip_assets.retrieval.query_file import Asked
from clip_assets.retrieval.search import Searcher

ALIKE = 1e-4
"""Similarities this close are the same: copies of an image stand for each other."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one version does with the queries.

    Args:
        version: its name.
        recall: share of the k nearest that is found; None where there are none, or its vectors are
            not there.
        median_ms: of a search by one vector, without encoding the query and reading rows.
        slowest_ms: which 95 of 100 searches are faster than.
    """

    version: str
    recall: float | None
    median_ms: float
    slowest_ms: float


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two versions and the same queries.

    Args:
        queries: how many.
        k: results of each.
        overlap: share of the first's results, by uid, that the second has too.
        measured: of the first and of the second.
    """

    queries: int
    k: int
    overlap: float
    measured: tuple[Measured, Measured]


def side_by_side(
    pool: Pool,
    names: tuple[str, str],
    asked: Sequence[Asked],
    k: int = 10,
    side: str = "image",
    recall_target: float | None = None,
) -> SideBySide:
    """Search two versions by the same queries.

    What an exact search finds costs a pass over the vectors of each version.

    Raises:
        ConfigurationError: there is no query, or one cannot be.
        ModelMismatchError: the versions are of different models.
    """
    if not asked:
        raise ConfigurationError("queries", "none", "one or more", "Name a file that has some.")
    kinds = {None if isinstance(q, np.ndarray) else queries.kind(q) for _, q in asked}
    [kind] = kinds if len(kinds) == 1 else [None]
    measured: list[Measured] = []
    results: list[list[set[str]]] = []
    for name in names:
        with Searcher(pool, versions.read(pool.store, name)) as searcher:
            vectors = searcher.vectors_of([query for _, query in asked])
            times: list[float] = []
            similarities: list[Floats] = []
            uids: list[set[str]] = []
            for vector in vectors:
                began = time.perf_counter()
                nearest = searcher.search_many(
                    vector[None], k, side, kind=kind, recall_target=recall_target
                )
                times.append(1000 * (time.perf_counter() - began))
                similarities.append(nearest.similarities[0])
                uids.append({str(uid) for uid in searcher.rows(nearest.ids[0], ["uid"])["uid"]})
            results.append(uids)
            recall = _recall(searcher, vectors, np.stack(similarities), side)
        median, slowest = np.percentile(times, [50, 95]).tolist()
        measured.append(Measured(name, recall, round(median, 3), round(slowest, 3)))
    first, second = results
    shared = sum(len(one & two) for one, two in zip(first, second, strict=True))
    overlap = shared / max(1, sum(map(len, first)))
    return SideBySide(len(asked), k, round(overlap, 4), (measured[0], measured[1]))


def _recall(searcher: Searcher, vectors: Floats, similarities: Floats, side: str) -> float | None:
    if not similarities.size:
        return None
    try:
        exact = searcher.exactly(vectors, similarities.shape[1], side)
    except NotReadyError:
        return None
    least = exact.similarities[:, -1:] - np.float32(ALIKE)
    return round(float((similarities >= least).mean()), 4)
