"""What an index finds for tools that know nothing but the index: no gap, and no second look.

How far they look is written into it. What ours finds with both is the matter of ``effort.recall``.
"""

from typing import TYPE_CHECKING

import numpy as np

from clip_assets.index.effort import neighbours
from clip_assets.storage.embeddings_folder import FolderVectors, usable

if TYPE_CHECKING:
    from clip_assets.index.effort.recall import Question
    from clip_assets.index.engine.ann import Floats, Ids, Index

SEARCHED = 256
"""Queries that are searched for."""


def recall_of(index: "Index", question: "Question", vectors: FolderVectors) -> float | None:
    """Share of the ten true neighbours of the queries that an index finds.

    None where single rows of the vectors cost a request each.
    """
    from clip_assets.index.effort.recall import ALIKE
    from clip_assets.index.engine import ann

    if not vectors.is_local:
        return None
    queries = question.queries[:SEARCHED]
    _, ids = ann.search(index, queries, neighbours.KEPT)
    similar = _similarities(queries, ids, vectors)
    # A query's own pair does not count, as in the truth.
    distance = np.abs(similar - question.own[:SEARCHED, None])
    own = np.nanargmin(np.where(np.isnan(distance), np.inf, distance), axis=1)[:, None]
    is_there = np.take_along_axis(distance, own, axis=1) <= neighbours.SAME
    np.put_along_axis(
        similar, own, np.where(is_there, np.nan, np.take_along_axis(similar, own, 1)), 1
    )
    right = (similar >= question.least[:SEARCHED, None] - ALIKE).sum(axis=1)
    known = question.known[:SEARCHED]
    return round(float(np.minimum(right, known).sum() / max(1, int(known.sum()))), 4)


def _similarities(queries: "Floats", ids: "Ids", vectors: FolderVectors) -> "Floats":
    """(q, k) of the whole vectors, NaN where nothing was similar."""
    distinct, places = np.unique(ids, return_inverse=True)
    good = usable(vectors.at(distinct[distinct >= 0]))
    whole = np.full((len(distinct), vectors.dim), np.nan, np.float32)
    whole[np.flatnonzero(distinct >= 0)[good.places]] = good.vectors
    return np.einsum("qd,qkd->qk", queries, whole[places.reshape(ids.shape)])
