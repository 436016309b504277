"""Rows by how far their images lie from others: SemDeDup's representatives.

Of images of a cluster in order, each has its distance to the nearest earlier one; those that are
at least so far from all earlier ones are kept (SemDeDup, arXiv 2303.09540).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.settings.curation import SemDeDup
from clip_assets.subsets.clusters import Clustered, clustered
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.grouping import Groups
from clip_assets.subsets.selection import UID, Account, Floats, Judge, Score, Selection
from clip_assets.subsets.vector_scores import Rows32, unit

BLOCK_ROWS = 2048
"""Images compared with all earlier ones of their cluster at once."""

ALONE = 2.0
"""The distance of an image before which there is none: the greatest there is."""


def score(selection: Selection, settings: SemDeDup, candidates: Judge) -> Score:
    """The distance of each image to the nearest earlier one of its cluster.

    Cost: for each image half the size of its cluster x dim multiplications. Memory: a cluster's
    vectors, and 60 bytes for each image; all vectors lie in a temporary file.

    Raises:
        ConfigurationError: there are no vectors.
    """
    clusters = clustered(selection, candidates, settings.arch, settings.clusters, settings.seed)
    images = _copied(selection, clusters, settings.arch)
    sign = 1 if settings.keep == "outlier" else -1
    order = np.lexsort((sign * clusters.near, clusters.ids))
    is_copy = np.zeros(len(order), np.bool_)
    if settings.hashes and selection.rows.has_outcomes:
        is_copy = _copies(selection, clusters, -sign * clusters.near)
    distances = np.zeros(len(order), np.float32)
    ends = np.cumsum(np.bincount(clusters.ids, minlength=len(clusters.centroids)))
    for start, end in zip(np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True):
        members = order[start:end]
        members = members[~is_copy[members]]
        distances[members] = nearest_earlier(unit(images[members]))
    figures = {
        "clusters": len(clusters.centroids),
        "images": len(order),
        "copies_by_perceptual_hash": int(np.count_nonzero(is_copy)),
    }
    selection.told.append(lambda: Account({"semdedup of": figures}))

    def of(piece: str, table: pa.Table) -> Floats:
        return clusters.rows.to_rows(piece, distances, len(table))

    return Score("semdedup", frozenset([UID]), of)


def nearest_earlier(images: Rows32) -> Rows32:
    """(n,) cosine distance of each image to the nearest of those before it.

    Args:
        images: (n, dim) of length 1.
    """
    distances = np.full(len(images), ALONE, np.float32)
    for start in range(0, len(images), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(images))
        similar = images[start:stop] @ images[:stop].T
        similar[np.arange(stop) >= np.arange(start, stop)[:, None]] = -1
        distances[start:stop] = 1 - np.minimum(similar.max(axis=1), 1)
    return distances


def _copied(selection: Selection, clusters: Clustered, arch: str) -> npt.NDArray[np.float16]:
    """(n, dim) images by number, in a file, where those of a cluster can be had."""
    dim = clusters.centroids.shape[1]
    if not clusters.rows.count:
        return np.zeros((0, dim), np.float16)
    file = selection.folder / f"images-{id(clusters)}.f16"
    columns = selection.rows.vector_columns
    with file.open("wb") as copy:
        for _, images in clusters.rows.images(selection, columns, arch):
            copy.write(images.astype(np.float16).tobytes())
    return np.memmap(file, np.float16, "r", shape=(clusters.rows.count, dim))


def _copies(selection: Selection, clusters: Clustered, scores: Rows32) -> npt.NDArray[np.bool_]:
    """(n,) whether an earlier image of its cluster has the same perceptual hash."""
    groups = Groups(selection.folder / f"hashes-{id(clusters)}")
    has_hash = np.zeros(clusters.rows.count, np.bool_)
    for piece, table in selection.tables([UID]):
        numbers, own = clusters.rows.numbers(piece), clusters.rows.pieces[piece][1]
        hashes, known = selection.rows.hashes(piece, table)
        has_hash[numbers] = known[own]
        with np.errstate(over="ignore"):
            both = hashes[own] ^ (clusters.ids[numbers].astype(np.uint64) + np.uint64(1)) * _ODD
        groups.add(both, scores[numbers], np.arange(numbers.start, numbers.stop, dtype=np.float64))
    return has_hash & (groups.ranks() > 0)


_ODD = np.uint64(0x9E3779B97F4A7C15)

METHOD = by_score(SemDeDup, score)
