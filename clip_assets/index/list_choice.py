"""Which lists a query looks into: those whose centre is nearly as similar to it as the nearest one.

How much that is, is the matter of ``index.reach``; ``index.ann`` searches the lists.
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
    is_within = every >= every.max(axis=1, keepdims=True) - np.float32(gap)
    owners, numbers = np.nonzero(is_within)
    own = every[owners, numbers]
    order = np.lexsort((-own, owners))
    counts = is_within.sum(axis=1)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = max(1, int(counts.max(initial=1)))
    best = np.zeros((len(queries), most), np.float32)
    best_numbers = np.full((len(queries), most), -1, np.int64)
    best[owners, places], best_numbers[owners, places] = own[order], numbers[order]
    return best, best_numbers
