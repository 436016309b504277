"""Our lists of RaBitQ codes against faiss' IVF-PQ-FastScan, for captions among images.

Vectors are made up (``made_up_vectors``: captions lie off the images). Both are built of the same
vectors with as many lists, and have their 200 best candidates put in order by the whole vectors;
the peer has codes of as many bytes as ours, and of twice as many. One thread, queries in batches
of 64. Ours decides by query how many lists it looks into, by a gap that is calibrated on captions
of the pool; the peer looks into the least fixed number of lists that finds the target for some of
the same captions, or into all. Both are measured on captions that neither has seen, in CPU seconds,
as the wall tells of other work too.

    python benchmarks/index.py [--vectors 100000] [--dim 512] [--queries 1000]
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets.index import ann, kinds, neighbours, recall
from clip_assets.index.reach import Reach

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

TARGETS = (0.9, 0.95)
CALIBRATED_ON = 4_000
BATCH = 64


class Whole:
    """The whole vectors, as ``index.exact`` has them."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors.astype(np.float16)

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """(q, k); NaN where an id is -1."""
        rows = self._vectors[ids].astype(np.float32)
        similar = np.einsum("qd,qkd->qk", queries, rows)
        similar[ids < 0] = np.nan
        return similar


def least(queries: Floats, images: Floats) -> Floats:
    """Similarity of the tenth nearest image of each query."""
    parts = np.array_split(queries, max(1, len(queries) // BATCH))
    return np.concatenate([np.partition(own @ images.T, -10, axis=1)[:, -10] for own in parts])


def measured(search: Callable[[Floats], Ids], queries: Floats, whole: Whole, tenth: Floats):
    """Recall of ten, and queries in a second of CPU time."""
    began = time.process_time()
    starts = range(0, len(queries), BATCH)
    ids = np.concatenate([search(queries[start : start + BATCH]) for start in starts])
    seconds = time.process_time() - began
    right = whole.similarities(queries, ids) >= tenth[:, None] - recall.ALIKE
    return float(right.mean()), len(queries) / seconds


def ours(images: Floats, texts: Floats, asked: Ids, rest: Ids, lists: int, whole: Any):
    """An index of ours, how long it took, and how far it is searched for each target."""
    began, dim = time.process_time(), images.shape[1]
    points = rest[:: max(1, len(rest) // (256 * lists))]
    index = ann.trained(f"RR{dim},IVF{lists},RaBitQ", dim, images[points])
    owners = ann.add(index, images).lists
    built = time.process_time() - began
    truth = neighbours.of(texts[asked], images, owners)
    question = recall.Question(index, texts[asked], truth.near, images[asked])
    meter = recall.Meter(index, np.bincount(owners, minlength=lists), whole)
    reaches: dict[float, Reach] = {reach.target: reach for reach in meter.reach(question)}
    searches = {
        target: lambda queries, gap=reaches[target].gap: recall.nearest(
            index,
            queries,
            10,
            gap,
            whole,
        )[1]
        for target in TARGETS
    }
    return built, time.process_time() - began, searches, reaches


def peer(images: Floats, rest: Ids, lists: int, code: int):
    """An IVF-PQ-FastScan of faiss with codes of so many bytes, and how long it took."""
    began, dim = time.process_time(), images.shape[1]
    key = f"IVF{lists},PQ{2 * code}x4fs"
    index: Any = faiss.index_factory(dim, key, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(images[rest[:: max(1, len(rest) // (256 * lists))]])
    index.add(images)
    return index, time.process_time() - began


def looked_up(index: faiss.Index, whole: Whole, probes: int) -> Callable[[Floats], Ids]:
    """A search of the peer: its 200 best, put in order by the whole vectors."""

    def search(queries: Floats) -> Ids:
        parameters = faiss.SearchParametersIVF(nprobe=probes)
        _, ids = index.search(queries, recall.CANDIDATES, params=parameters)
        similar = np.nan_to_num(whole.similarities(queries, ids), nan=-np.inf)
        order = np.argsort(-similar, axis=1)[:, :10]
        return np.take_along_axis(ids, order, 1)

    return search


def main() -> None:
    """Build both, search both, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1_000)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    total, dim = options.vectors, options.dim
    source = Source(dim, max(1, total // VECTORS_PER_CLUSTER))
    images, texts = source.pairs(total, seed=1)
    unseen, whole = source.pairs(options.queries, seed=2)[1], Whole(images)
    random = np.random.default_rng(3)
    asked = np.sort(random.choice(total, min(CALIBRATED_ON, total // 4), replace=False))
    rest = np.setdiff1d(np.arange(total), asked)
    lists = kinds.lists_for(total, len(rest))
    tenth = least(unseen, images)
    known = {"vectors": total, "dim": dim, "lists": lists, "compiled": faiss.get_compile_options()}
    print(json.dumps(known), flush=True)
    built, calibrated, searches, reaches = ours(images, texts, asked, rest, lists, whole)
    told = {"index": "ours", "bytes": dim // 8 + 8 + 8, "build_cpu_s": round(built, 1)}
    told |= {"with_calibration_cpu_s": round(calibrated, 1)}
    for target, search in searches.items():
        share, speed = measured(search, unseen, whole, tenth)
        figures = {"target": target, "recall": round(share, 4), "queries_per_cpu_s": round(speed)}
        scanned = {"scanned": reaches[target].scanned}
        print(json.dumps(told | figures | scanned), flush=True)
    sample = asked[:: max(1, len(asked) // 500)]
    own_tenth = least(texts[sample], images)
    for code in (dim // 8, dim // 4):
        index, seconds = peer(images, rest, lists, code)
        for target in TARGETS:
            probes, share = 1, 0.0
            while share < target and probes < lists:
                probes = min(lists, max(probes + 1, int(probes * 1.2)))
                search = looked_up(index, whole, probes)
                share, _ = measured(search, texts[sample], whole, own_tenth)
            share, speed = measured(looked_up(index, whole, probes), unseen, whole, tenth)
            told = {"index": "faiss IVF-PQ-FastScan", "bytes": code + 8}
            told |= {
                "build_cpu_s": round(seconds, 1),
                "target": target,
                "lists_looked_into": probes,
            }
            figures = {"recall": round(share, 4), "queries_per_cpu_s": round(speed)}
            print(json.dumps(told | figures), flush=True)


if __name__ == "__main__":
    main()
