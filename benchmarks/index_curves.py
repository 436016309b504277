"""What codes of equal bytes find in equal time: recall beside speed, for captions never seen.

Indices of the vectors of ``benchmarks/index.py`` with as many lists, searched in steps: ours by
gaps, faiss' own by numbers of lists, each with its codes alone and after a second look at so many
candidates by the whole vectors, which ours leaves in the file and faiss' ``IndexRefine`` holds in
memory. Batches of 64, one thread, CPU seconds of the fastest of some rounds.

    python benchmarks/index_curves.py --data FOLDER [--vectors 200000] [--kinds KEY...]
    python benchmarks/index_curves.py --data FOLDER --vectors 20000 --dim 128 --cluster 0
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.index import Search, batches, cpu, filled, halves, our_index
from benchmarks.index_vectors import Made, Whole
from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER
from clip_assets.index.effort import recall
from clip_assets.index.effort.reach import Effort
from clip_assets.index.engine import ann
from clip_assets.index.engine.fast_lists import fast_form

K = 10
CANDIDATES = (0, 100, 200)
GAPS = (0.02, 0.04, 0.06, 0.09, 0.13)
PROBES = (4, 8, 16, 32, 64, 128, 256)
ROUNDS = 3
KINDS = ("P128,RR128,IVF{lists},PQ32", "P128,RR128,IVF{lists},PQ64x4")
PEERS = ("IVF{lists},PQ32", "IVF{lists},PQ64x4")
Told = dict[str, Any]


def ours(
    made: Made, key: str, candidates: list[int], gaps: list[float]
) -> Iterator[tuple[Told, Search]]:
    """Searches of a kind of ours."""
    index = our_index(made, key)
    served, whole = fast_form(index) or index, Whole(made.images)
    lists: Any = ann.inverted(index)
    for most in candidates:
        for gap in gaps:
            effort, exact = Effort(gap, most), whole if most else None

            def search(queries: Any, effort: Effort = effort, exact: Any = exact) -> Any:
                return recall.nearest(served, queries, K, effort, exact)[1]

            told = {"kind": key, "bytes": lists.code_size + 8, "candidates": most, "gap": gap}
            yield told, search


def peers(made: Made, key: str, candidates: list[int], exact: Any) -> Iterator[tuple[Told, Search]]:
    """Searches of a kind of faiss' own, as it is, or in its fast form."""

    def build() -> Any:
        index: Any = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        index.do_polysemous_training = False
        filled(made, index)
        return index

    index = made.index(key, build)
    size = index.code_size + 8
    index = faiss.IndexIVFPQFastScan(index) if key.endswith("x4") else index
    both: Any = faiss.IndexRefine(index, exact)
    for most in candidates:
        for probes in (each for each in PROBES if each < made.lists):
            within = faiss.SearchParametersIVF(nprobe=probes)
            how = faiss.IndexRefineSearchParameters(k_factor=most / K, base_index_params=within)
            one, params = (both, how) if most else (index, within)

            def search(queries: Any, one: Any = one, params: Any = params) -> Any:
                return one.search(queries, K, params=params)[1]

            told = {"kind": f"faiss {key}", "bytes": size, "candidates": most}
            yield told | {"lists_looked_into": probes}, search


def measured(made: Made, told: Told, search: Search) -> Told:
    """With recall of the ten nearest, half of its 95 % interval, and speed."""
    queries = made.unseen()
    truth = made.unseen_truth()["list"][:, :K]
    ids = np.concatenate([search(own) for own in batches(queries)])
    hits = np.array([np.isin(own, right).mean() for own, right in zip(ids, truth, strict=True)])
    seconds = min(cpu(search, queries)[0] for _ in range(ROUNDS))
    found = {"recall": round(float(hits.mean()), 4)}
    found |= {"half_interval": round(float(1.96 * hits.std() / len(hits) ** 0.5), 4)}
    return told | found | {"queries_per_cpu_s": round(len(queries) / seconds)}


def main() -> None:
    """Build each, search each, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="Vectors and truth are kept there."
    )
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--cluster", type=int, default=VECTORS_PER_CLUSTER, help="See index.py.")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--candidates", type=int, nargs="+", default=CANDIDATES)
    parser.add_argument("--gaps", type=float, nargs="+", default=GAPS)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    sizes = options.vectors, options.dim, options.queries, 2**20
    made = Made(options.data, *sizes, per_cluster=options.cluster)
    print(json.dumps({"lists": made.lists, "compiled": faiss.get_compile_options()}), flush=True)
    most, exact = options.candidates, halves(made) if options.peers else None
    keys, theirs = (
        [key.format(dim=made.dim, lists=made.lists) for key in some]
        for some in (options.kinds, options.peers)
    )
    ones = [one for key in keys for one in ours(made, key, most, options.gaps)]
    ones += [one for key in theirs for one in peers(made, key, most, exact)]
    for told, search in ones:
        print(json.dumps(measured(made, told, search)), flush=True)


if __name__ == "__main__":
    main()
