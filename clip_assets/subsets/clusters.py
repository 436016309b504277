"""Spherical k-means: directions that vectors gather around, and which of them each is nearest to.

Trained on a sample that is drawn by uid, so that the same rows give the same clusters. What is
done with clusters is the business of methods.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets.storage import uids
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.numbered import Numbered
from clip_assets.subsets.selection import UID, Judge, Selection
from clip_assets.subsets.vector_scores import Rows32, unit

SAMPLED = 256
"""Vectors of a sample for each cluster, at most."""

MOST_SAMPLED = 2**18
"""Of a whole sample."""

MOST_CLUSTERS = 10_000
"""That are chosen where nobody says how many."""

ROUNDS = 10

BLOCK_ROWS = 4096
"""Vectors compared with all centroids at once."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Clustered:
    """The clusters of candidates.

    Args:
        centroids: (k, dim) of length 1.
        ids: (n,) cluster of each candidate that has a vector, see ``rows``.
        near: (n,) similarity to its centroid.
        rows: which they are.
    """

    centroids: Rows32
    ids: Ids
    near: Rows32
    rows: Numbered


def clustered(
    selection: Selection, candidates: Judge, arch: str, number: int | None, seed: int = 0
) -> Clustered:
    """Cluster the images of candidates.

    Memory: 12 bytes for each, and the sample.

    Args:
        selection: of which choice.
        candidates: whose images are clustered.
        arch: by whose vectors.
        number: of clusters, fewer where there are fewer images; None: the root of their number.
        seed: of the draws.

    Raises:
        ConfigurationError: there are no such vectors.
    """
    columns = candidates.columns | selection.rows.vector_columns | {UID}
    rows, draws = Numbered(), [np.empty(0)]
    for piece, table in selection.tables(columns):
        kept = candidates.decide(piece, table).kept
        with selection.rows.vectors(piece, table, arch) as of_piece:
            rows.add(piece, some := np.flatnonzero(kept & (of_piece.places >= 0)))
        draws.append(uniform(uids.pairs(table[UID])[some], seed))
    drawn = np.concatenate(draws)
    wanted = number or min(round(len(drawn) ** 0.5), MOST_CLUSTERS)
    count = min(len(drawn), SAMPLED * wanted, max(MOST_SAMPLED, wanted))
    bound = np.partition(drawn, count - 1)[count - 1] if count else 0.0
    sample = [np.zeros((0, 1), np.float32)]
    ids, near = np.zeros(len(drawn), np.int32), np.zeros(len(drawn), np.float32)
    vectors = rows.images(selection, columns, arch)
    sample += [images[drawn[numbers] <= bound] for numbers, images in vectors]
    centroids = trained(np.concatenate(sample[1:] or sample), wanted, seed)
    for numbers, images in rows.images(selection, columns, arch):
        ids[numbers], near[numbers] = nearest(images, centroids)
    return Clustered(centroids, ids, near, rows)


def trained(sample: Rows32, number: int, seed: int = 0) -> Rows32:
    """Centroids of a sample, (k, dim) of length 1.

    Args:
        sample: (n, dim) of length 1.
        number: of centroids; as many as there are different vectors, where these are fewer.
        seed: of those that it begins with.
    """
    some = np.random.default_rng(seed).permutation(len(sample))
    _, firsts = np.unique(sample[some], axis=0, return_index=True)
    centroids = sample[some[np.sort(firsts)[:number]]]
    for _ in range(ROUNDS if len(centroids) < len(sample) else 0):
        ids, near = nearest(sample, centroids)
        order = np.argsort(ids, kind="stable")
        present, starts = np.unique(ids[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1)
        fine = lengths > 0
        centroids = centroids.copy()
        centroids[present[fine]] = sums[fine] / lengths[fine, None]
        empty = np.setdiff1d(np.arange(len(centroids)), present)
        # An empty one takes the place of what is farthest from all.
        centroids[empty] = sample[np.argsort(near, kind="stable")[: len(empty)]]
    return unit(centroids)


def nearest(vectors: Rows32, centroids: Rows32) -> tuple[Ids, Rows32]:
    """The centroid nearest to each vector, and its similarity: (n,) and (n,).

    Args:
        vectors: (n, dim) of length 1.
        centroids: (k, dim) of length 1.
    """
    ids, near = np.zeros(len(vectors), np.int32), np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        similar = vectors[block] @ centroids.T
        ids[block] = similar.argmax(axis=1)
        near[block] = np.take_along_axis(similar, ids[block, None].astype(np.intp), 1)[:, 0]
    return ids, near
