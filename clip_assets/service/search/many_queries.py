"""Batches of queries: one search for all of them, and one look at the rows of what it found.

A single query is the matter of ``finding``, whose parts are used here.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from clip_assets.retrieval.queries import Query, Vector
from clip_assets.service.hosting.hosted import OpenVersion
from clip_assets.service.limits.visible import Visible
from clip_assets.service.limits.wire import BatchRequest
from clip_assets.service.measures.took import Took
from clip_assets.service.search.finding import Finder
from clip_assets.service.search.searching import Searching, head


async def answered(searching: Searching, request: BatchRequest) -> dict[str, Any]:
    """What each query of a batch finds, as the endpoint answers it.

    Raises:
        ClipAssetsError: what ``Searching.search`` raises; a query at fault fails the batch.
    """
    index = searching.hosting.get(request.index)
    took = Took()
    with index.opened() as opened:
        with took.step("encode"):
            asked, vectors = await searching.vectors(index, opened, request.terms, {})
        search = partial(_found, opened, request, searching.visible, took, asked, vectors)
        results = await searching.turns.do(search)
        queries = [{"results": own} for own in results]
        return head(index, opened, request.recall_target, took) | {"queries": queries}


def _found(
    opened: OpenVersion,
    request: BatchRequest,
    visible: Visible,
    took: Took,
    asked: Sequence[Query],
    vectors: Sequence[Vector | None],
) -> list[list[dict[str, Any]]]:
    """Results of each query, best first."""
    finder = Finder(opened, request.search, visible, took)
    allowed = finder.allowed()
    with took.step("search"):
        terms = iter(zip(asked, vectors, strict=True))
        mixes = [
            finder.mix(query.terms, *zip(*islice(terms, len(query.terms)), strict=True))
            for query in request.queries
        ]
        kinds = {mix.kind for mix in mixes}
        nearest = opened.searcher.search_many(
            np.stack([mix.vector for mix in mixes]),
            request.k,
            request.side,
            # Where all of them lie, if they lie alike: it decides how far is looked.
            kind=kinds.pop() if len(kinds) == 1 else None,
            recall_target=request.recall_target,
            allowed=allowed,
        )
    is_found = nearest.ids >= 0
    counts = is_found.sum(axis=1).tolist()
    with took.step("rows"):
        results = iter(
            finder.results(
                nearest.ids[is_found],
                nearest.similarities[is_found],
                list(zip(counts, mixes, strict=True)),
            )
        )
    return [list(islice(results, count)) for count in counts]
