"""Which lists a query looks into: those whose centre is nearly as similar to it as the nearest one.

How much that is, is the matter of ``effort.reach``; ``engine.ann`` searches the lists.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

BLAS_FROM = 20
"""Queries that are compared with all centres as one product of matrices."""

_OWNER = 32
# A query's number stands above so many bits of a distance.


def middles(lists: faiss.IndexIVF) -> Floats:
    """Centres of lists that were trained here, (lists, d); not a copy."""
    flat_ones = faiss.downcast_index(lists.quantizer)
    return faiss.rev_swig_ptr(flat_ones.get_xb(), lists.nlist * lists.d).reshape(-1, lists.d)


def scores(lists: faiss.IndexIVF, queries: Floats) -> Floats:
    """Similarity of each query, (q, d), to each centre: (q, lists)."""
    flat_ones = faiss.downcast_index(lists.quantizer)
    # faiss' factory makes a plain IndexFlat; read from a file it is an IndexFlatIP.
    by_product = lists.quantizer.metric_type == faiss.METRIC_INNER_PRODUCT
    if not (isinstance(flat_ones, faiss.IndexFlat) and by_product):  # an index that others made
        best, numbers = lists.quantizer.search(queries, lists.nlist)
        ordered = np.empty_like(best)
        np.put_along_axis(ordered, numbers, best, axis=1)
        return ordered
    own = middles(lists)
    # A few queries wait for memory, not for cores, and threads of BLAS for each other.
    if len(queries) < BLAS_FROM:
        return np.einsum("qd,ld->ql", queries, own)
    return queries @ own.T


def within(lists: faiss.IndexIVF, queries: Floats, gap: float) -> tuple[Floats, Ids]:
    """Scores and numbers of the lists within a gap of the best one, best first.

    Others have number -1.
    """
    every = scores(lists, queries)
    return near(every, every.max(axis=1, keepdims=True), gap)


def near(every: Floats, top: Floats, gap: float) -> tuple[Floats, Ids]:
    """The same of lists whose scores are known.

    Args:
        every: (q, lists) scores, of all lists or of some.
        top: (q, 1) the best of all lists.
        gap: between it and the least that is taken.
    """
    # Not nonzero of two dimensions, nor a sort by two keys: each took as long as the product.
    places = np.flatnonzero(every >= top - np.float32(gap))
    owners = places // every.shape[1]
    own = every.ravel()[places]
    away = (top[owners, 0] - own).view(np.int32)  # of floats from 0 on in the same order
    order = np.argsort((owners << _OWNER) | away)
    counts = np.bincount(owners, minlength=len(every))
    ranks = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = max(1, int(counts.max(initial=1)))
    best = np.zeros((len(every), most), np.float32)
    numbers = np.full((len(every), most), -1, np.int64)
    best[owners, ranks], numbers[owners, ranks] = own[order], places[order] % every.shape[1]
    return best, numbers
