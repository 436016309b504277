"""Centres of more lists than an index was trained with, for ``index.own_lists``.

Imported as lazily as ``engine.ann``, whose words these are.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np

from clip_assets.index.engine import ann, placing
from clip_assets.index.engine.ann import Floats, Index, Placed

ROUNDS = 20
"""Of k-means."""

PULL = 2
"""So many vectors in the middle of all count beside a list's own. The middle of a few vectors has
what these have by chance, and a caption would choose lists by that; that of many has not."""


def trained(index: Index, vectors: Floats, wanted: int) -> Floats:
    """Centres of more lists: (wanted, d), as the index has vectors inside.

    Args:
        index: with lists.
        vectors: (m, dim), at least ``wanted``.
        wanted: centres.
    """
    inner = ann.inner(index, np.ascontiguousarray(vectors, dtype=np.float32))
    means = faiss.Kmeans(inner.shape[1], wanted, niter=ROUNDS, spherical=True, seed=ann.SEED)
    means.cp.min_points_per_centroid = 1
    means.train(inner)
    assert means.centroids is not None
    flat = faiss.IndexFlatIP(inner.shape[1])
    flat.add(means.centroids)
    owners = flat.search(inner, 1)[1][:, 0]
    middle = np.tile(PULL * inner.mean(axis=0), (wanted, 1))
    counted = np.concatenate([inner, middle]), np.concatenate([owners, np.arange(wanted)])
    return placing.moved(means.centroids, *counted)


def extended(index: Index, centres: Floats | None) -> Index:
    """An empty index with more lists, behind its own; the first one stays as it is.

    Args:
        index: empty, with lists.
        centres: (m, d) of the new ones, or None.
    """
    longer = faiss.clone_index(index)
    lists = ann.inverted(longer)
    if lists is None or centres is None:
        return longer
    lists.quantizer.add(np.ascontiguousarray(centres, dtype=np.float32))
    lists.nlist = lists.quantizer.ntotal
    held = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
    held.this.disown()  # from here on it is the index's
    lists.replace_invlists(held, own=True)
    return longer


def count(index: Index) -> int:
    """Lists of an index that has some."""
    lists = ann.inverted(index)
    assert lists is not None
    return lists.nlist


def nearer(index: Index, vectors: Floats, before: Placed, centres: Floats) -> Placed:
    """Where vectors lie in an index that gets some more lists.

    Args:
        index: without those.
        vectors: (n, dim).
        before: where they lie in it.
        centres: (m, d) of the lists that follow.
    """
    scores = ann.inner(index, vectors) @ centres.T
    best = scores.argmax(axis=1)
    similar = scores[np.arange(len(best)), best]
    is_nearer = similar > before.similarities
    return Placed(
        np.where(is_nearer, best + count(index), before.lists),
        np.where(is_nearer, similar, before.similarities),
    )
