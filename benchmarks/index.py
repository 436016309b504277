"""Our lists of RaBitQ codes against other indices of faiss, for captions among images.

Vectors are made up (``made_up_vectors``: captions lie off the images). All are built of the same
vectors with as many lists. Ours and the product codes have their 200 best candidates put in order
by the whole vectors. Ours decides by query how many lists it looks into, by a gap that is
calibrated on captions of the pool; the others look as little as finds the target for some of the
same captions, or as far as they can. All are measured on captions that none has seen, in batches of
64. Figures *per CPU second* tell of work, those *per second* of the clock, which other work moves.

* ``ours``: RaBitQ of one bit.
* ``fastscan``: faiss' IVF-PQ-FastScan with codes of as many bytes as ours, and of twice as many.
* ``hnsw``: a graph of faiss with whole vectors, as float32.
* ``hnsw_sq8``: the same with one byte a dimension.
* ``tax``: vectors that captions look at beside those of images, by fixed numbers of lists and ours.
* ``autofaiss``: with --autofaiss PYTHON of its own environment, at equal bytes a vector.

    python benchmarks/index.py [--vectors 100000] [--dim 512] [--queries 1000] [--only ours tax]
    python benchmarks/index.py --vectors 200000 --only ours hnsw [--links 32] [--width 64]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets import layout
from clip_assets.index import ann, kinds, neighbours, recall
from clip_assets.index.halves import whole
from clip_assets.index.reach import CANDIDATES, Reach

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Search = Callable[[Floats], Ids]

TARGETS = (0.9, 0.95)
CALIBRATED_ON = 4_000
SOME = 500
"""Captions by which the others choose how far they look."""
BATCH = 64
WHOLE_RECALL = 0.95


class Whole:
    """The whole vectors, as ``index.exact`` has them."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors.astype(np.float16)

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """(q, k); NaN where an id is -1."""
        similar = np.empty(ids.shape, np.float32)
        for own, query, found in zip(ids, queries, similar, strict=True):
            rows = whole(np.take(self._vectors, own, axis=0, mode="clip"))
            found[:] = np.einsum("kd,d->k", rows, query)
        similar[ids < 0] = np.nan
        return similar


def batches(queries: Floats) -> list[Floats]:
    """At most ``BATCH`` of them each."""
    return [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]


def least(queries: Floats, images: Floats) -> Floats:
    """Similarity of the tenth nearest image of each query."""
    parts = batches(queries)
    return np.concatenate([np.partition(own @ images.T, -10, axis=1)[:, -10] for own in parts])


def share(search: Search, queries: Floats, whole: Whole, tenth: Floats) -> float:
    """Recall of ten."""
    ids = np.concatenate([search(own) for own in batches(queries)])
    right = whole.similarities(queries, ids) >= tenth[:, None] - recall.ALIKE
    return float(right.mean())


class Made:
    """Everything that the indices are made of and asked with."""

    def __init__(self, total: int, dim: int, queries: int) -> None:
        source = Source(dim, max(1, total // VECTORS_PER_CLUSTER))
        self.images, self.texts = source.pairs(total, seed=1)
        self.unseen = dict(zip(layout.SIDES, source.pairs(queries, seed=2), strict=True))
        self.whole, self.total, self.dim = Whole(self.images), total, dim
        random = np.random.default_rng(3)
        self.asked = np.sort(random.choice(total, min(CALIBRATED_ON, total // 4), replace=False))
        rest = np.setdiff1d(np.arange(total), self.asked)
        self.lists = kinds.lists_for(total, len(rest))
        self.trained_on = self.images[rest[:: max(1, len(rest) // (256 * self.lists))]]
        self.tenth = least(self.unseen["text"], self.images)
        self.some = self.texts[self.asked[:: max(1, len(self.asked) // SOME)]]
        self.some_tenth = least(self.some, self.images)

    def tell(self, told: Mapping[str, Any], search: Search) -> None:
        """Print recall and speed of captions never seen, with one thread and with two."""
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            queries = self.unseen["text"]
            cpu, wall = time.process_time(), time.perf_counter()
            for own in batches(queries):
                search(own)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            figures = {"queries_per_cpu_s": round(len(queries) / cpu)}
            figures |= {"queries_per_s": round(len(queries) / wall), "threads": threads}
            found = share(search, queries, self.whole, self.tenth)
            told = {**told, "recall": round(found, 4)}
            print(json.dumps(told | figures), flush=True)
        faiss.omp_set_num_threads(1)

    def enough(self, searches: Callable[[int], Search], most: int, target: float) -> int:
        """The least that finds the target for some captions of the pool, or the most."""
        far = 1
        while far < most and share(searches(far), self.some, self.whole, self.some_tenth) < target:
            far = min(most, max(far + 1, int(far * 1.2)))
        return far


def ours(made: Made) -> dict[str, dict[float, Reach]]:
    """An index of ours; how far it is searched by kind of query and target."""
    began, dim = time.process_time(), made.dim
    index = ann.trained(f"RR{dim},IVF{made.lists},RaBitQ", dim, made.trained_on)
    owners = ann.add(index, made.images).lists
    built = time.process_time() - began
    meter = recall.Meter(index, np.bincount(owners, minlength=made.lists), made.whole)
    own = made.images[made.asked]
    reaches: dict[str, dict[float, Reach]] = {}
    for kind, rows in {"text": made.texts, "image": made.images}.items():
        queries = rows[made.asked]
        truth = neighbours.of(queries, made.images, owners).near
        question = recall.Question(index, queries, truth, own)
        reaches[kind] = {reach.target: reach for reach in meter.reach(question)}
    told = {"index": "ours", "bytes": dim // 8 + 8 + 8, "build_cpu_s": round(built, 1)}
    told |= {"file_bytes": _file_bytes(index), "mapped_rows_bytes": 2 * dim * made.total}
    told |= {"with_calibration_cpu_s": round(time.process_time() - began, 1)}
    for target in TARGETS:
        reach = reaches["text"][target]

        def search(queries: Floats, reach: Reach = reach) -> Ids:
            return recall.nearest(index, queries, 10, reach.effort, made.whole)[1]

        how = {"target": target, "scanned": reach.scanned, "candidates": reach.candidates}
        made.tell(told | how, search)
    return reaches


def fastscan(made: Made, code: int) -> None:
    """An IVF-PQ-FastScan of faiss with codes of so many bytes, its 200 best put in order."""
    began = time.process_time()
    key = f"IVF{made.lists},PQ{2 * code}x4fs"
    index: Any = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(made.trained_on)
    index.add(made.images)
    told = {"index": "faiss IVF-PQ-FastScan", "bytes": code + 8}
    told |= {"build_cpu_s": round(time.process_time() - began, 1)}

    def looked_up(probes: int) -> Search:
        def search(queries: Floats) -> Ids:
            parameters = faiss.SearchParametersIVF(nprobe=probes)
            _, ids = index.search(queries, CANDIDATES, params=parameters)
            similar = np.nan_to_num(made.whole.similarities(queries, ids), nan=-np.inf)
            return np.take_along_axis(ids, np.argsort(-similar, axis=1)[:, :10], 1)

        return search

    for target in TARGETS:
        probes = made.enough(looked_up, made.lists, target)
        made.tell(told | {"target": target, "lists_looked_into": probes}, looked_up(probes))


def hnsw(made: Made, kind: str, links: int, width: int) -> None:
    """A graph of faiss.

    Args:
        made: what it is made of.
        kind: what it keeps of a vector, ``Flat`` or ``SQ8``.
        links: of a vector at each level; twice as many at the lowest.
        width: of the search for the links of a new vector, faiss' efConstruction.
    """
    began = time.process_time()
    index: Any = faiss.index_factory(made.dim, f"HNSW{links},{kind}", faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = width
    index.train(made.trained_on)
    index.add(made.images)
    told = {"index": f"faiss HNSW{links},{kind}", "efConstruction": width}
    told |= {"file_bytes": _file_bytes(index)}
    told |= {"build_cpu_s": round(time.process_time() - began, 1)}

    def looked_up(far: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=far)
        return lambda queries: index.search(queries, 10, params=parameters)[1]

    for target in TARGETS:
        far = made.enough(looked_up, 4_000, target)
        made.tell(told | {"target": target, "efSearch": far}, looked_up(far))


def _file_bytes(index: Any) -> int:
    return faiss.serialize_index(index).nbytes


def tax(made: Made, reaches: Mapping[str, Mapping[float, Reach]]) -> None:
    """Vectors looked at by captions and by images for a recall of 0.95; codes play no part."""
    index: Any = ann.trained(f"IVF{made.lists},Flat", made.dim, made.trained_on)
    owners = ann.add(index, made.images).lists
    sizes = np.bincount(owners, minlength=made.lists)
    fixed: dict[str, float] = {}
    for kind, queries in made.unseen.items():
        truth = neighbours.of(queries, made.images, owners).near
        nothing = np.zeros_like(queries)  # these queries have no pair in the pool
        probes = recall.Question(index, queries, truth, nothing).probes()
        numbers = index.quantizer.search(queries, probes)[1]
        fixed[kind] = float(sizes[numbers].sum(axis=1).mean()) / made.total
    told: dict[str, Any] = {"tax": {kind: round(part, 5) for kind, part in fixed.items()}}
    told["fixed_text_by_fixed_image"] = round(fixed["text"] / fixed["image"], 3)
    for kind in reaches:
        told[f"ours_{kind}"] = reaches[kind][WHOLE_RECALL].scanned
        told[f"ours_{kind}_by_fixed_image"] = round(told[f"ours_{kind}"] / fixed["image"], 3)
    print(json.dumps(told), flush=True)


def autofaiss(made: Made, python: str) -> None:
    """The peer, in its own environment."""
    script = Path(__file__).with_name("index_autofaiss.py")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        np.save(folder / "images" / "images.npy", made.images)
        np.save(folder / "some.npy", made.some)
        np.save(folder / "some_tenth.npy", made.some_tenth)
        np.save(folder / "unseen.npy", made.unseen["text"])
        np.save(folder / "unseen_tenth.npy", made.tenth)
        size = str(made.dim // 8 + 8 + 8)
        subprocess.run([python, str(script), name, size], check=True, stdout=sys.stdout)


def main() -> None:
    """Build each, search each, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--autofaiss", metavar="PYTHON", help="Of an environment with autofaiss.")
    parser.add_argument("--links", type=int, default=32, help="Of a graph.")
    parser.add_argument("--width", type=int, default=64, help="efConstruction of a graph.")
    names = ["ours", "fastscan", "hnsw", "hnsw_sq8", "tax"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    made = Made(options.vectors, options.dim, options.queries)
    known = {"vectors": made.total, "dim": made.dim, "lists": made.lists}
    print(json.dumps(known | {"compiled": faiss.get_compile_options()}), flush=True)
    reaches = ours(made) if {"ours", "tax"} & {*options.only} else {}
    if "tax" in options.only:
        tax(made, reaches)
    if options.autofaiss:
        autofaiss(made, options.autofaiss)
    if "fastscan" in options.only:
        fastscan(made, made.dim // 8)
        fastscan(made, made.dim // 4)
    for name, kind in {"hnsw": "Flat", "hnsw_sq8": "SQ8"}.items():
        if name in options.only:
            hnsw(made, kind, options.links, options.width)


if __name__ == "__main__":
    main()
