"""Plain searches: those of a moment are encoded together, and looked up by one call.

A plain search has one query, which is no pair of the index, and no condition; what is looked into
lies on this machine. So none is slow, and one thread does all of it, from texts to results. Other
searches have a thread each, see ``searching``.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clip_assets.encoders.encoder import Vectors
from clip_assets.retrieval import queries
from clip_assets.retrieval.queries import Query, Vector
from clip_assets.retrieval.served_side import Nearest
from clip_assets.retrieval.terms import Mix
from clip_assets.service.hosting.hosted import OpenVersion
from clip_assets.service.limits.wire import SearchRequest
from clip_assets.service.search.finding import Finder, Lookup

MOST_RESULTS = 1_000
"""That are looked at for a plain search."""


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A plain search that waits for the vector of its query.

    Args:
        opened: where it is searched.
        query: its only one.
        looked_at: so many results are looked at, at least.
        finder: of the request.
        finish: makes an answer of what was found.
    """

    opened: OpenVersion
    query: Query
    looked_at: int
    finder: Finder
    finish: Callable[[Mix, Nearest], Any]
    since_s: float = field(default_factory=time.perf_counter)


def is_plain(opened: OpenVersion, request: SearchRequest) -> bool:
    """Whether a request is a plain search."""
    [first, *others] = request.terms
    return (
        not others
        and first.uid is None
        and request.where is None
        and request.fold is None
        and not request.facets
        and request.offset + request.k < MOST_RESULTS
        and opened.searcher.pool.store.is_local
    )


def answered(searches: Sequence[tuple[Plain, Vector | Vectors]]) -> list[Any]:
    """The answer of each of some searches, or its fault; see ``rounds.Next``."""
    results: list[Any] = [None] * len(searches)
    groups: dict[tuple[OpenVersion, Lookup], list[tuple[int, Plain, Mix]]] = {}
    for place, (search, vector) in enumerate(searches):
        search.finder.took.add("encode", time.perf_counter() - search.since_s)
        try:
            mix = _mix(search, vector)
        except Exception as error:
            results[place] = error
            continue
        key = search.opened, search.finder.lookup(mix, search.looked_at)
        groups.setdefault(key, []).append((place, search, mix))
    for (opened, lookup), own in groups.items():
        try:
            _look_up(opened, lookup, own, results)
        except Exception as error:
            for place, _, _ in own:
                results[place] = error
    return results


def _look_up(
    opened: OpenVersion,
    lookup: Lookup,
    searches: Sequence[tuple[int, Plain, Mix]],
    results: list[Any],
) -> None:
    start_s = time.perf_counter()
    vectors = np.stack([mix.vector for _, _, mix in searches])
    k, side, kind, recall_target = lookup
    ids, similarities = opened.searcher.search_many(
        vectors, k, side, kind=kind, recall_target=recall_target
    )
    spent_s = time.perf_counter() - start_s
    for row, (place, search, mix) in enumerate(searches):
        search.finder.took.add("search", spent_s)
        own = slice(row, row + 1)
        try:
            results[place] = search.finish(mix, Nearest(ids[own], similarities[own]))
        except Exception as error:
            results[place] = error


def _mix(search: Plain, vector: Vector | Vectors) -> Mix:
    dim = search.opened.searcher.version.dim
    return search.finder.mix(
        search.finder.request.terms, [search.query], [queries.unit(vector, dim)]
    )
