"""faiss indices that other programs made, behind plain functions: searched as they are.

They lie in a file of their own, or, merged on the disk, in a folder with populated.index. How
far a search goes is said by the index itself; what recall it has is not known. Our own are ``ann``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.errors import SchemaError
from clip_assets.index.engine import ann, held

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

ON_DISK = "populated.index"
"""In a folder: an index whose lists are in a file beside it."""

FARTHER = 4
"""So many times as far a search goes next, while there are fewer results than wanted."""

FEW = 20_000
"""Up to so many allowed ids of a graph are compared one by one."""


def read(path: Path) -> ann.Index:
    """An index, its lists left on the disk where they can be.

    Raises:
        SchemaError: it is none, or compares by something else than the inner product.
    """
    try:
        if path.is_dir():
            index = faiss.read_index(str(path / ON_DISK), faiss.IO_FLAG_ONDISK_SAME_DIR)
        else:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        told = str(error).partition("\n")[0][-200:]
        raise SchemaError(str(path), told, "a faiss index", "Copy it again.") from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        told = f"an index by metric {index.metric_type}"
        raise SchemaError(str(path), told, "one by inner product", "Make it with that metric.")
    return index


def search(index: ann.Index, queries: Floats, k: int, allowed: Ids | None) -> tuple[Floats, Ids]:
    """The nearest vectors of each query, best first.

    Args:
        index: any.
        queries: (q, dim).
        k: at least 1.
        allowed: ascending ids that may be found; None: all.

    Returns:
        Similarities and ids, (q, k) each; id -1 where the index finds no more.

    Raises:
        SchemaError: it is of a kind that cannot leave ids out.
    """
    asked = np.ascontiguousarray(queries, np.float32)
    if isinstance(index, faiss.IndexPreTransform):
        for place in range(index.chain.size()):
            asked = faiss.downcast_VectorTransform(index.chain.at(place)).apply(asked)
        return search(faiss.downcast_index(index.index), asked, k, allowed)
    if isinstance(index, faiss.IndexHNSW) and allowed is not None and len(allowed) <= FEW:
        return _compared(index, asked, k, allowed)
    # Ids may go beyond the number of vectors.
    selected = None if allowed is None else ann.selection(allowed, int(allowed.max(initial=-1)) + 1)
    wanted = min(k, index.ntotal if allowed is None else len(allowed))
    within = _within(index)
    far, farthest = _reach(within, k)
    while True:
        similarities, ids = _found(index, asked, k, _parameters(within, far, selected))
        if far >= farthest or ((ids >= 0).sum(axis=1) >= wanted).all():
            return similarities, ids
        far = min(far * FARTHER, farthest)


def vectors(index: ann.Index, ids: Ids) -> Floats:
    """(n, dim) what the index has for some ids: of codes, what they stand for; NaN of no vector.

    The first call for an inverted file makes a table: 8 bytes for each vector, and several times
    as many where ids were left out.
    """
    lists = ann.inverted(index)
    if lists is not None and lists.direct_map.no():
        try:
            lists.make_direct_map()
        except RuntimeError:  # ids beyond the number of vectors
            lists.set_direct_map_type(faiss.DirectMap.Hashtable)
    rows = np.full((len(ids), index.d), np.nan, np.float32)
    for row, one in zip(rows, ids.tolist(), strict=True):
        with suppress(RuntimeError):
            row[:] = index.reconstruct(one)
    return rows


def places_in_lists(index: ann.Index) -> Ids:
    """(n,) the place of each id when all lists are written one behind the other.

    Raises:
        SchemaError: it has no lists of the ids 0 to n - 1.
    """
    has_lists = ann.inverted(index) is not None
    ids = held.ids(index) if has_lists else np.empty(0, np.int64)
    if len(ids) != index.ntotal or not np.array_equal(np.sort(ids), np.arange(len(ids))):
        told = "other ids in its lists" if has_lists else "an index without lists"
        raise SchemaError(
            "the index",
            told,
            "lists of all ids, in whose order the rows of metadata_reordered.hdf5 stand",
            "Copy ivf_old_to_new_mapping.npy beside it.",
        )
    places = np.empty_like(ids)
    places[ids] = np.arange(len(ids))
    return places


def _compared(index: ann.Index, asked: Floats, k: int, allowed: Ids) -> tuple[Floats, Ids]:
    """The best of a few ids one by one: a graph loses most of them on its way."""
    similar = asked @ vectors(index, allowed).T
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similar, order, axis=1), allowed[order]


def _within(index: ann.Index) -> ann.Index:
    """What gives other ids to the vectors of another index is searched as that one."""
    while isinstance(index, faiss.IndexIDMap):
        index = faiss.downcast_index(index.index)
    return index


def _found(index: ann.Index, asked: Floats, k: int, parameters: Any) -> tuple[Floats, Ids]:
    try:
        return index.search(asked, k, params=parameters)
    except RuntimeError as error:
        if parameters is None or parameters.sel is None:
            raise
        raise SchemaError(
            "the index",
            f"a {type(index).__name__} that cannot leave ids out",
            "lists, a graph of whole vectors, or whole vectors alone",
            "Make an index of another kind, or search without a condition.",
        ) from error


def _reach(index: ann.Index, k: int) -> tuple[int, int]:
    """How far a search goes at first, in lists or vectors, and at most."""
    if isinstance(index, faiss.IndexIVF):
        return index.nprobe, index.nlist
    if isinstance(index, faiss.IndexHNSW):
        return max(index.hnsw.efSearch, 2 * k), index.ntotal
    return 1, 1


def _parameters(index: ann.Index, far: int, selected: Any) -> Any:
    if isinstance(index, faiss.IndexIVFPQ):
        return faiss.IVFPQSearchParameters(nprobe=far, sel=selected)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=far, sel=selected)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=far, sel=selected)
    return None if selected is None else faiss.SearchParameters(sel=selected)
