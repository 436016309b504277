"""A Dagster asset graph for CLIP-scale image-text pools, and its pools from Python.

    from clip_assets import Searcher, open_pool, relation

    pool = open_pool("demo-pool")
    relation(pool, "pool_rows").aggregate("status, count(*)")
    with Searcher.open(pool) as searcher:
        searcher.search("a red circle", k=3)

What stands here is the surface that other programs may rely on, see docs/python.md. Nothing is
imported before it is asked for.
"""

from typing import TYPE_CHECKING

from clip_assets.surface import surface

if TYPE_CHECKING:
    from clip_assets.errors import ClipAssetsError
    from clip_assets.graph import open_pool
    from clip_assets.pool.pool import Pool
    from clip_assets.pool.reading import dataset, embeddings, relation
    from clip_assets.retrieval.hits import Hit
    from clip_assets.retrieval.queries import Uid
    from clip_assets.retrieval.search import Searcher
    from clip_assets.retrieval.terms import Term

__all__ = [
    "ClipAssetsError",
    "Hit",
    "Pool",
    "Searcher",
    "Term",
    "Uid",
    "dataset",
    "embeddings",
    "open_pool",
    "relation",
]

__getattr__ = surface(
    __name__,
    {
        "ClipAssetsError": "errors",
        "Hit": "retrieval.hits",
        "Pool": "pool.pool",
        "Searcher": "retrieval.search",
        "Term": "retrieval.terms",
        "Uid": "retrieval.queries",
        "dataset": "pool.reading",
        "embeddings": "pool.reading",
        "open_pool": "graph",
        "relation": "pool.reading",
    },
)
