"""Inner products of float16 vectors with a query, as they are stored. Used by ``index.exact``.

faiss has a kernel for them in its lists of float16 codes, which are the same numbers: nothing is
made float32 first. Its lists stay empty; only what compares codes with a query is used.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from functools import cache
from threading import local

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]


class _Scanners(local):
    """One for each dimension that a thread has asked for."""

    def __init__(self) -> None:
        self._known: dict[int, faiss.InvertedListScanner] = {}

    def of(self, dim: int) -> faiss.InvertedListScanner:
        """It holds a query, so no two threads share one.

        None is ever deleted: after faiss' bindings delete some, they no longer know their types.
        """
        if dim not in self._known:
            scanner = _lists(dim).get_InvertedListScanner(False, None, None)  # noqa: FBT003
            scanner.set_list(0, 0.0)
            self._known[dim] = scanner
        return self._known[dim]


_SCANNERS = _Scanners()


@cache
def _lists(dim: int) -> faiss.IndexIVFScalarQuantizer:
    centre, kind = faiss.IndexFlatIP(dim), faiss.ScalarQuantizer.QT_fp16
    by_residual = False
    lists = faiss.IndexIVFScalarQuantizer(
        centre, dim, 1, kind, faiss.METRIC_INNER_PRODUCT, by_residual
    )
    centre.this.disown()
    lists.own_fields = True
    return lists


def products(rows: Halves, query: Floats) -> Floats:
    """(n,) products; NaN where a row holds one.

    Args:
        rows: (n, dim), C-contiguous.
        query: (dim,).
    """
    count, query = len(rows), np.ascontiguousarray(query)
    # A heap of as many results as there are rows keeps every product.
    best, places = np.full(count, -np.inf, np.float32), np.full(count, -1, np.int64)
    scanner, numbers = _SCANNERS.of(rows.shape[1]), np.arange(count)
    scanner.set_query(faiss.swig_ptr(query))
    arrays = map(faiss.swig_ptr, (rows.view(np.uint8), numbers, best, places))
    scanner.scan_codes(count, *arrays, count)
    similar = np.full(count, np.nan, np.float32)
    is_there = places >= 0
    similar[places[is_there]] = best[is_there]
    return similar
