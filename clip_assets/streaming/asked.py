"""What queries find in a pool, as sets of samples: one for each, to be mixed by shares."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from clip_assets.storage import uids
from clip_assets.streaming.pool_samples import PoolSamples

if TYPE_CHECKING:
    from clip_assets.retrieval.search import Searcher


def of_queries(
    searcher: "Searcher",
    queries: str | Iterable[str],
    k: int,
    *,
    threshold: float | None = None,
    columns: Sequence[str] = (),
) -> list[PoolSamples]:
    """The samples that each query finds, the nearest first, under its name.

    Args:
        searcher: of a pool's served index.
        queries: texts, or one.
        k: of each at most.
        threshold: least similarity.
        columns: see ``PoolSamples``.

    Returns:
        A set of each query; one that finds nothing has no samples, and no share of a ``Stream``.
    """
    sets: list[PoolSamples] = []
    for query in [queries] if isinstance(queries, str) else queries:
        hits = searcher.search(query, k=k, threshold=threshold)
        texts = pa.chunked_array([[hit.uid for hit in hits]], pa.string())
        # Found by an index that may be older than the shards.
        some = uids.pairs(texts)
        sets.append(PoolSamples(searcher.pool, some, columns=columns, gone="leave out", name=query))
    return sets
