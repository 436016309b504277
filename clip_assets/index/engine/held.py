"""What an index holds: the ids of its vectors, and of an exact one the vectors too.

Imported as lazily as ``engine.ann``, whose words these are.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from typing import cast

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np

from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids, Index


def exact_ids(index: Index) -> Ids:
    """The id of every vector of an exact index, in its order."""
    return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)


def ids(index: Index) -> Ids:
    """The id of every vector, in the order of the index."""
    lists = ann.inverted(index)
    if lists is None:
        return exact_ids(index)
    held = [of_list(lists, number) for number in range(lists.nlist)]
    return np.concatenate([np.empty(0, np.int64), *held])


def of_list(index: faiss.IndexIVF, number: int, places: Ids | None = None) -> Ids:
    """The ids of one list, or of some places in it, which alone are read then."""
    lists = cast("faiss.InvertedLists", index.invlists)
    size = lists.list_size(number)
    if not size:
        return np.empty(0, np.int64)
    stored = lists.get_ids(number)
    try:
        own = faiss.rev_swig_ptr(stored, size)
        return (own if places is None else own[places]).astype(np.int64)
    finally:
        lists.release_ids(number, stored)


def exact_vectors(index: Index, wanted: Ids) -> Floats:
    """The vectors of some ids of an exact index: (len(wanted), dim), NaN where there is none.

    Goes once through all ids, so ask for many at a time.
    """
    place_of = {int(number): place for place, number in enumerate(exact_ids(index))}
    rows = np.full((len(wanted), index.d), np.nan, np.float32)
    for row, number in enumerate(wanted.tolist()):
        if number in place_of:
            rows[row] = ann.flat(index).reconstruct(place_of[number])
    return rows
