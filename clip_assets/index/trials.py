"""Which code finds most: kinds that fit are tried on a sample, with the pool's own queries.

Each is trained on some vectors of images, holds others, and is asked with captions and images that
are in neither. What an exact search of the same vectors finds is the truth. Lists play no part: all
of them are looked into, since which are is decided by recall later (``effort.recall``). Candidates
are put right by the whole vectors, as in a search; of a sample fewer of them, as many fewer as the
pool is larger. So a sample tells what the code loses in the pool. Codes that are compared fast get
more candidates in the same time.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_assets.index.effort.reach import CANDIDATES
from clip_assets.index.effort.recall import ALIKE as SIMILAR
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.engine.fast_lists import fast_form, has_fast_form
from clip_assets.index.engine.kinds import HALF_BYTE, Choice
from clip_assets.storage.scatter import scatter

HELD = 30_000
"""Vectors of the sample that are searched."""

TRAINED = 16_384
"""Vectors that candidates are trained on."""

LISTS = 64

FASTER = 2
"""Times the candidates of codes with a fast form: their search still takes less time than one of
other codes of as many bytes, see docs/decisions/0084."""

ASKED = 500
"""Queries of each kind."""

LEAST_VECTORS = 1_000
"""With fewer there is nothing to choose by, and the most exact code is taken."""

RANKS = (1, 10, 100)

ALIKE = 0.005
"""Recalls this close are the same: 500 queries tell no more."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What was measured of one kind.

    Args:
        key: of faiss' factory.
        bytes_per_vector: id included.
        recall: by kind of query, then by rank such as ``10``: share of so many nearest that are
            found, after the second look.
        alone: likewise at 10, without it.
        queries_per_s: of captions, of one core's time, all lists looked into.
        build_s: seconds of one core to train and to encode.
    """

    key: str
    bytes_per_vector: int
    recall: dict[str, dict[str, float]]
    alone: dict[str, float]
    queries_per_s: float
    build_s: float


def tried(
    choices: Sequence[Choice],
    sample: Floats,
    queries: Mapping[str, Floats],
    vectors: int,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Tried]:
    """Try every kind.

    Args:
        choices: in any order.
        sample: (m, dim) vectors of images, of which none belongs to a query.
        queries: by kind, (q, dim).
        vectors: of the pool.
        progress: is told how many kinds were tried.
    """
    trained, held = sample[:TRAINED], sample[-HELD:]
    some = {kind: rows[:: max(1, len(rows) // ASKED)][:ASKED] for kind, rows in queries.items()}
    truth = {kind: _most_similar(rows @ held.T) for kind, rows in some.items()}
    second = max(RANKS[1], CANDIDATES * len(held) // max(1, vectors))
    results: list[Tried] = []
    for choice in choices:
        results.append(_tried(choice, trained, held, some, truth, second))
        progress(len(results))
    return results


def best(choices: Sequence[Choice], results: Sequence[Tried]) -> Choice:
    """Of the kinds that find as many of a caption's ten nearest as any does the most exact one.

    Of those with as many bytes it is the first that is compared fast.
    """
    recalls = [one.recall["text"]["10"] for one in results]
    alike = [
        choice
        for choice, recall in zip(choices, recalls, strict=True)
        if recall >= max(recalls) - ALIKE
    ]
    most = max(choice.bytes_per_vector for choice in alike)
    largest = [choice for choice in alike if choice.bytes_per_vector == most]
    return next((one for one in largest if one.key.endswith(HALF_BYTE)), largest[0])


def _tried(
    choice: Choice,
    trained: Floats,
    held: Floats,
    queries: Mapping[str, Floats],
    truth: Mapping[str, Floats],
    second: int,
) -> Tried:
    key = re.sub(r"IVF\d+", f"IVF{max(1, min(LISTS, len(trained) // 39))}", choice.key)
    began = time.process_time()
    index = ann.trained(key, held.shape[1], trained)
    ann.add(index, held)
    build_s = time.process_time() - began
    searched = fast_form(index) or index  # as it is served
    ann.set_probes(searched, LISTS)
    second *= FASTER if has_fast_form(index) else 1
    recall: dict[str, dict[str, float]] = {}
    alone: dict[str, float] = {}
    seconds = 1.0
    for kind, rows in queries.items():
        began = time.process_time()
        _, ids = ann.search(searched, rows, min(len(held), max(second, RANKS[-1])))
        seconds = time.process_time() - began if kind == "text" else seconds
        similar = _similar(rows, held, ids)
        recall[kind] = {
            str(rank): _share(_in_order(similar[:, : max(second, rank)]), truth[kind], rank)
            for rank in RANKS
        }
        alone[kind] = _share(similar, truth[kind], 10)
    speed = round(len(queries["text"]) / max(seconds, 1e-6), 1)
    return Tried(choice.key, choice.bytes_per_vector, recall, alone, speed, round(build_s, 2))


def _similar(queries: Floats, held: Floats, ids: Ids) -> Floats:
    """Similarities of the whole vectors of what was found, in its order."""
    similar = np.stack([held[own] @ query for own, query in zip(ids, queries, strict=True)])
    similar[ids < 0] = -np.inf
    return similar


def _in_order(similar: Floats) -> Floats:
    return -np.sort(-similar, axis=1)


def _most_similar(similar: Floats) -> Floats:
    """Of each query the similarities of the nearest, best first."""
    most = min(RANKS[-1], similar.shape[1])
    return _in_order(-np.partition(-similar, most - 1, axis=1)[:, :most])


def _share(similar: Floats, truth: Floats, rank: int) -> float:
    """Share of the first ``rank`` found that are as near as as many nearest; copies count alike."""
    wanted = min(rank, truth.shape[1])
    right = similar[:, :wanted] >= truth[:, wanted - 1 : wanted] - SIMILAR
    return round(float(right.sum()) / max(1, wanted * len(truth)), 4)


def as_figures(results: Sequence[Tried], chosen: str) -> list[dict[str, Any]]:
    """A row for each, for people: the table of candidates."""
    return [
        {
            "key": one.key,
            "chosen": one.key == chosen,
            "bytes_per_vector": one.bytes_per_vector,
            **{
                f"recall_at_{rank}_{kind}": at[str(rank)]
                for kind, at in one.recall.items()
                for rank in RANKS
            },
            **{f"codes_alone_{kind}": share for kind, share in one.alone.items()},
            "queries_per_s": one.queries_per_s,
            "build_s": one.build_s,
        }
        for one in results
    ]


def by_bytes(table: Sequence[Mapping[str, Any]]) -> bytes:
    """Recall of each kind against its bytes, as a PNG."""
    sizes = [row["bytes_per_vector"] for row in table]
    return _drawn("What each code finds", table, sizes, "bytes of a vector")


def by_time(table: Sequence[Mapping[str, Any]]) -> bytes:
    """Recall of each kind against the time of a query, as a PNG."""
    times = [1000 / max(row["queries_per_s"], 1e-3) for row in table]
    right = "milliseconds of a query that looks at the whole sample"
    return _drawn("What each code finds, and in which time", table, times, right)


def _drawn(
    title: str, table: Sequence[Mapping[str, Any]], places: Sequence[float], right: str
) -> bytes:
    points = [
        (
            row["key"].rpartition("IVF")[0].partition(",")[0] + row["key"].rpartition(",")[2],
            place,
            row["recall_at_10_text"],
        )
        for row, place in zip(table, places, strict=True)
    ]
    return scatter(title, points, right, "recall of a caption's ten")
