"""Vectors compared with centres and with queries: by cores, or by an accelerator.

Both are products of matrices, and nearly all that a partition costs an index. Where an
accelerator multiplies, faiss decides again what rounding leaves open, so vectors lie in the lists
that faiss alone puts them into; of many lists cores look at those nearby (``engine.placing``).
Codes are made by cores in any case (``engine.ann``); what an exact search finds is kept by
``effort.neighbours``. Which device, and whether, is said by ``index.index_segments``. Imported as
lazily as ``engine.ann``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from clip_assets.index.effort import neighbours
from clip_assets.index.effort.neighbours import Neighbours, Truth
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index, Placed

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

PRODUCT_BYTES = 256 << 20
"""Of similarities that are on the device at once; sorting them takes as much again or twice."""

OPEN = 1e-5
"""Two lists this close are told apart by faiss: sums of float32 differ by a tenth of it."""


class ByCores:
    """Comparing by faiss and numpy.

    Args:
        index: empty, trained.
        queries: (q, dim) of each kind.
    """

    def __init__(self, index: Index, queries: Mapping[str, Floats]) -> None:
        self._index, self._queries, self._groups = index, queries, ann.groups(index)

    def placed(self, vectors: Floats) -> Placed:
        """Where vectors, (n, dim), would come to lie. Of an index with lists."""
        return ann.placed(self._index, vectors, self._groups)

    def truth(self, kind: str, vectors: Floats, lists: Ids, known: Truth) -> Truth:
        """What an exact search finds among known vectors and some more, each in its list."""
        return neighbours.of(self._queries[kind], vectors, lists, known)


class OnDevice:
    """The same by torch, in float32.

    Memory of the device: centres, queries, one chunk of vectors, and about three times
    ``PRODUCT_BYTES``.

    Args:
        place: torch's name of the device.
        index: empty, trained.
        queries: (q, dim) of each kind.

    Raises:
        ImportError: there is no torch.
        RuntimeError, AssertionError: the device cannot be used.
    """

    def __init__(self, place: str, index: Index, queries: Mapping[str, Floats]) -> None:
        self._place, self._index = place, index
        self._queries = {kind: self._there(asked) for kind, asked in queries.items()}
        lists = ann.inverted(index)
        self._centres = (
            None if lists is None else self._there(lists.quantizer.reconstruct_n(0, lists.nlist))
        )

    def placed(self, vectors: Floats) -> Placed:
        """Where vectors, (n, dim), would come to lie. Of an index with lists."""
        lists, centres = ann.inverted(self._index), self._centres
        assert lists is not None
        assert centres is not None
        within = ann.inner(self._index, np.ascontiguousarray(vectors, dtype=np.float32))
        best = [
            _best(block @ centres.T, min(2, len(centres)))
            for block in self._there(within).split(_rows(len(centres)))
        ]
        similar, numbers = (np.concatenate(one) for one in zip(*best, strict=True))
        placed = Placed(np.ascontiguousarray(numbers[:, 0]), np.ascontiguousarray(similar[:, 0]))
        is_open = np.flatnonzero(similar[:, 0] - similar[:, -1] <= OPEN)
        if len(is_open) and len(centres) > 1:
            again, nearest = lists.quantizer.search(np.ascontiguousarray(within[is_open]), 1)
            placed.lists[is_open], placed.similarities[is_open] = nearest[:, 0], again[:, 0]
        return placed

    def truth(self, kind: str, vectors: Floats, lists: Ids, known: Truth) -> Truth:
        """What an exact search finds among known vectors and some more, each in its list."""
        queries, start = self._queries[kind], 0
        some = neighbours.deep_ones(len(queries))
        for block in self._there(vectors).split(_rows(len(queries))):
            similar = queries @ block.T
            here = lists[start : start + len(block)]
            near = _nearest(similar, here, neighbours.KEPT)
            deep = _nearest(similar[some], here, neighbours.DEEP_KEPT)
            known = neighbours.joined([known, Truth(near, deep)], len(queries))
            start += len(block)
        return known

    def _there(self, array: Floats) -> "Tensor":
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self._place)


def _rows(columns: int) -> int:
    """Of a product of so many columns that fits."""
    return max(1, PRODUCT_BYTES // (4 * max(1, columns)))


def _best(similar: "Tensor", count: int) -> tuple[Floats, Ids]:
    """The most similar of each row, and their places."""
    best = similar.topk(count, dim=1)
    return best.values.cpu().numpy(), best.indices.cpu().numpy()


def _nearest(similar: "Tensor", lists: Ids, kept: int) -> Neighbours:
    """As many neighbours as are kept, or as there are."""
    similarities, places = _best(similar, min(kept, similar.shape[1]))
    nearest = np.zeros((len(similarities), kept), neighbours.NEIGHBOUR)
    nearest["similarity"] = -np.inf
    nearest["similarity"][:, : places.shape[1]] = similarities
    nearest["list"][:, : places.shape[1]] = lists[places]
    return nearest


@contextmanager
def comparing(
    place: str | None, index: Index, queries: Mapping[str, Floats]
) -> Generator[ByCores | OnDevice]:
    """What compares vectors, for the time of the block.

    Args:
        place: torch's name of a device, or None; cores compare where it cannot be used, too,
            which is logged.
        index: empty, trained.
        queries: (q, dim) of each kind.
    """
    if place is None:
        yield ByCores(index, queries)
        return
    try:
        import torch

        device = OnDevice(place, index, queries)
    except (ImportError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning("cores compare vectors, because %s cannot be used: %s", place, reason)
        yield ByCores(index, queries)
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # TF32 errs a thousand times more
    try:
        yield device
    finally:
        torch.set_float32_matmul_precision(before)
