"""Rows by where their images lie among others: typical, outlying, diverse; and by density.

Density-based pruning is that of arXiv 2401.04578: each cluster has a quota by how wide it is and
how far from others, filled with what is least like its middle.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.settings.curation import DensityPruned, Pick
from clip_assets.storage import uids
from clip_assets.subsets.clusters import Clustered, clustered
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.grouping import Groups, Ranks
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import UID, Account, Floats, Judge, Method, Score, Selection
from clip_assets.subsets.vector_scores import Rows32

NEIGHBOURS = 20
"""Nearest centroids by which it is told how far a cluster is from others."""


def _score(selection: Selection, settings: Pick, candidates: Judge) -> Score:
    """Similarity to the middle of the cluster, its opposite, or the place in it, best first."""
    clusters = clustered(selection, candidates, settings.arch, settings.clusters, settings.seed)
    match settings.pick:
        case "typical":
            scores = clusters.near
        case "outlier":
            scores = -clusters.near
        case "diverse":
            scores = -_ranks(selection, clusters, clusters.near, settings.seed).astype(np.float32)
    _tell(selection, clusters)

    def of(piece: str, table: pa.Table) -> Floats:
        return clusters.rows.to_rows(piece, scores, len(table))

    return Score(settings.pick, frozenset([UID]), of)


def _density(selection: Selection, settings: DensityPruned, candidates: Judge) -> Judge:
    """By the quota of the cluster."""
    clusters = clustered(selection, candidates, settings.arch, settings.clusters, settings.seed)
    wanted = round(settings.density * clusters.rows.count)
    sizes = np.bincount(clusters.ids, minlength=len(clusters.centroids))
    complexities = complexity(clusters, sizes)
    allowed = quotas(complexities, sizes, wanted, settings.temperature)
    ranks = _ranks(selection, clusters, -clusters.near, settings.seed)
    is_kept = (ranks < allowed[clusters.ids]).astype(np.float32)
    _tell(selection, clusters)

    def decide(piece: str, table: pa.Table) -> Judgement:
        kept = clusters.rows.to_rows(piece, is_kept, len(table))
        return passing(len(table), {"no_vector": ~np.isnan(kept), "dense": kept == 1})

    return Judge(frozenset([UID]), decide)


def complexity(clusters: Clustered, sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """(k,) distance to the nearest other centroids times the mean distance inside."""
    inside = np.bincount(clusters.ids, 1 - clusters.near.astype(np.float64), len(sizes))
    inside /= np.maximum(sizes, 1)
    return _apart(clusters.centroids) * inside


def _apart(centroids: Rows32) -> npt.NDArray[np.float64]:
    """(k,) mean distance of each to its nearest others."""
    count = min(NEIGHBOURS, len(centroids) - 1)
    if count < 1:
        return np.ones(len(centroids))
    apart = np.empty(len(centroids))
    for place, centroid in enumerate(centroids):
        distances = 1 - centroids @ centroid
        distances[place] = np.inf
        apart[place] = np.partition(distances, count - 1)[:count].mean()
    return apart


def quotas(
    complexities: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.integer],
    wanted: int,
    temperature: float,
) -> npt.NDArray[np.int64]:
    """How many of each cluster: nearest to softmax's shares, between 1 and all of it.

    Args:
        complexities: (k,) of clusters.
        sizes: (k,) images of each.
        wanted: of all together, at most all images.
        temperature: of the softmax.

    Returns:
        (k,) whose sum is ``wanted``.
    """
    logits = complexities / temperature
    weights = np.exp(logits - logits.max(initial=0)) * (sizes > 0)
    ideal = weights / max(weights.sum(), 1e-300) * wanted
    least = np.where(sizes > 0, 1 if wanted >= np.count_nonzero(sizes) else 0, 0)
    low, high = -float(wanted) - 1, float(wanted) + sizes.max(initial=0) + 1
    for _ in range(200):
        # The nearest point of a box with a given sum is a shift of all, cut to the box.
        middle = (low + high) / 2
        if np.clip(ideal + middle, least, sizes).sum() < wanted:
            low = middle
        else:
            high = middle
    exact = np.clip(ideal + high, least, sizes)
    allowed = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.where(allowed < sizes, exact - allowed, -1.0)
    for place in np.argsort(-rest, kind="stable")[: max(wanted - int(allowed.sum()), 0)]:
        allowed[place] += 1
    return allowed


def _ranks(selection: Selection, clusters: Clustered, scores: Floats, seed: int) -> Ranks:
    """(n,) the place of each image in its cluster, the greatest score first."""
    groups = Groups(selection.new_folder())
    for piece, table in selection.tables([UID]):
        numbers, own = clusters.rows.numbers(piece), clusters.rows.pieces[piece][1]
        draws = uniform(uids.pairs(table[UID])[own], seed)
        groups.add(clusters.ids[numbers].astype(np.uint64), scores[numbers], draws)
    return groups.ranks()


def _tell(selection: Selection, clusters: Clustered) -> None:
    sizes = np.bincount(clusters.ids, minlength=len(clusters.centroids))
    figures = {
        "clusters": len(sizes),
        "images": clusters.rows.count,
        "largest": int(sizes.max(initial=0)),
        "mean_similarity": round(float(clusters.near.mean()), 4) if clusters.rows.count else None,
    }
    selection.told.append(lambda: Account({"clusters": figures}))


PICK = by_score(Pick, _score)
DENSITY = Method(DensityPruned, _density)
