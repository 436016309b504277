"""Our lists of codes against other indices of faiss, for captions among images.

Vectors are made up, or the demo model's (``index_vectors``). All are built of the same vectors with
as many lists, whose centres are trained once. Ours decides by query how many lists it looks into,
by a gap that is calibrated on captions of the pool together with how many candidates of its codes
are put in order by the whole vectors. The others get, for each number of candidates, the least
number of lists that finds the target for some of the same captions, and of these pairs the fastest.
All are measured on captions that none has seen, in batches of 64, one after the other in each of
several rounds; figures are medians. Those *per CPU second* tell of work, those *per second* of the
clock, which other work moves. Batches are searched by as many threads as ``--threads`` says, each
with one core, as a service does; ``OPENBLAS_NUM_THREADS=1`` keeps numpy to one, too.

* ``ours``: RaBitQ of one bit, or the kinds of ``--kinds``; ``{dim}`` and ``{lists}`` are filled in.
* ``fastscan``: faiss' IVF-PQ-FastScan with codes of ``--codes`` bytes, as many as ours has and
  twice as many; its candidates are put in order by faiss' own code, from float16 in memory.
* ``hnsw``: a graph of faiss with whole vectors, as float32.
* ``hnsw_sq8``: the same with one byte a dimension.
* ``tax``: vectors that captions look at beside those of images, by fixed numbers of lists and ours.
* ``autofaiss``: with --autofaiss PYTHON of its own environment, at equal bytes a vector.

    python benchmarks/index.py [--vectors 100000] [--dim 512] [--queries 1000] [--only ours tax]
    python benchmarks/index.py --vectors 20000 --dim 128 --cluster 0 --only tax
    python benchmarks/index.py --vectors 1000000 --k 10 100 --data FOLDER --only ours fastscan hnsw
"""

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.index_vectors import PIECE, Chosen, Made, Whole
from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER
from clip_assets import layout
from clip_assets.index.effort import calibration, neighbours, recall
from clip_assets.index.effort.code_ranks import Scanned
from clip_assets.index.effort.neighbours import Neighbours
from clip_assets.index.effort.reach import Reach
from clip_assets.index.engine import ann, cores, held
from clip_assets.index.engine.fast_lists import fast_form
from clip_assets.index.engine.kinds import PROJECTED

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Search = Callable[[Floats], Floats]
"""Similarities of what is found for some queries, (q, k)."""
Each = Callable[[Search, Sequence[Floats]], Iterator[Floats]]

TARGETS = (0.9, 0.95)
BATCH = 64
WHOLE_RECALL = 0.95
STEP = 1.15
"""From one number of lists to the next that is tried."""
MORE = 16
"""Numbers of lists that are tried beyond those that more candidates need; the last is 8 times."""
TIMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""As many candidates as results, of the others."""
MOST_CANDIDATES = 6_400


@dataclass
class Contestant:
    """An index and how it is searched.

    Args:
        told: what is known of it.
        k: results.
        search: similarities of them.
    """

    told: dict[str, Any]
    k: int
    search: Search


def batches(queries: Floats) -> list[Floats]:
    """At most ``BATCH`` of them each."""
    return [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]


def share(search: Search, queries: Floats, least: Floats) -> float:
    """Recall, where the last of the true ones is so similar to each query."""
    found = np.concatenate([search(own) for own in batches(queries)])
    return float((found >= least[:, None] - recall.ALIKE).mean())


def cpu(search: Search, queries: Floats, each: Each = map) -> tuple[float, float]:
    """Seconds of CPU, and of the clock, of all of them.

    Args:
        search: for each batch.
        queries: in all.
        each: calls it, one batch after the other or some at once.
    """
    began, clock = time.process_time(), time.perf_counter()
    deque(each(search, batches(queries)), maxlen=0)
    return time.process_time() - began, time.perf_counter() - clock


def measure(made: Made, contestants: Sequence[Contestant], rounds: int, threads: int) -> None:
    """Print recall and speed of each for captions never seen, by threads with a core each."""
    queries = made.unseen()
    with ThreadPoolExecutor(threads, initializer=cores.use, initargs=(1,)) as pool:
        taken = [[cpu(one.search, queries, pool.map) for one in contestants] for _ in range(rounds)]
    for number, one in enumerate(contestants):
        cpus, clocks = zip(*(own[number] for own in taken), strict=True)
        told = one.told | {"recall": round(share(one.search, queries, made.least(one.k)), 4)}
        told |= {"queries_per_cpu_s": round(len(queries) / median(cpus))}
        told |= {"queries_per_s": round(len(queries) / median(clocks)), "threads": threads}
        print(json.dumps(told), flush=True)


def least_that(finds: Callable[[int], bool], numbers: Sequence[int]) -> int:
    """The first of ascending numbers that finds enough, or the last."""
    low, high = 0, len(numbers) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(numbers[middle]) else (middle + 1, high)
    return numbers[low]


def ascending(most: int) -> list[int]:
    """Numbers, each a little more than the one before."""
    numbers = [1]
    while numbers[-1] < most:
        numbers.append(min(most, max(numbers[-1] + 1, int(numbers[-1] * STEP))))
    return numbers


def filled(made: Made, index: Any) -> None:
    """Fill an index; it is trained first, where it is not, for lists of the common centres."""
    lists: Any = ann.inverted(index)
    if not lists.is_trained:
        lists.quantizer.add(ann.inner(index, made.centres))
        index.train(made.trained_on)
    is_turned = isinstance(index, faiss.IndexPreTransform)
    owners = None if is_turned else made.owners
    for start in range(0, made.total, PIECE):
        rows = made.images[start : start + PIECE].astype(np.float32)
        known = None
        if owners is not None:
            own = owners[start : start + PIECE]
            known = ann.Placed(own, np.zeros(len(own), np.float32))
        ann.add(index, rows, known=known)


def owners_of(made: Made, index: Any) -> Ids:
    """The list of each vector."""
    owners, lists = np.empty(made.total, np.int64), ann.inverted(index)
    sizes = [lists.get_list_size(number) for number in range(made.lists)]
    owners[held.ids(index)] = np.repeat(np.arange(made.lists), sizes)
    return owners


def in_lists(truth: Neighbours, owners: Ids) -> Neighbours:
    """Neighbours with the list that each lies in, instead of its id."""
    placed = truth.copy()
    placed["list"] = owners[truth["list"]]
    return placed


def reached(
    made: Made, index: Any, owners: Ids, kind: str, ks: Sequence[int]
) -> dict[int, dict[float, Reach]]:
    """How far an index is searched, by number of results and target."""
    lists: Any = ann.inverted(index)
    sizes = np.bincount(owners, minlength=lists.nlist)
    meter: Any = calibration.Meter(index, sizes, Whole(made.images))  # pyright: ignore[reportArgumentType]
    truth, own = made.asked_truth(kind), made.texts("image")
    queries = made.texts(kind)
    reaches: dict[int, dict[float, Reach]] = {}
    for k in ks:
        some = slice(None) if k <= neighbours.NEIGHBOURS else neighbours.deep_ones(len(queries))
        near = truth.near if k <= neighbours.NEIGHBOURS else truth.deep
        question = recall.Question(index, queries[some], in_lists(near, owners), own[some])
        found = meter.reach([question.first(k)])
        reaches[k] = {reach.target: reach for reach in found}
    return reaches


def our_index(made: Made, key: str) -> Any:
    """An index of a kind of ours, which is built once."""

    def build() -> Any:
        index: Any
        if key.startswith(PROJECTED):  # lists of these directions
            index = ann.trained(key, made.dim, made.trained_on)
        else:
            index = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
            index.chain.at(0).train(made.trained_on)
        filled(made, index)
        return index

    return made.index(key, build)


def ours(made: Made, key: str, ks: Sequence[int]) -> Iterator[Contestant]:
    """An index of ours."""
    key = key.format(dim=made.dim, lists=made.lists)

    index = our_index(made, key)
    owners, lists = owners_of(made, index), ann.inverted(index)
    served = fast_form(index) or index
    told = {"index": "ours", "kind": key, "bytes": lists.code_size + 8}
    told |= {"index_bytes": made.index_bytes(key), "build_cpu_s": made.cpu_s(key)}
    whole: Any = Whole(made.images)
    for k in ks:

        def choose(k: int = k) -> Chosen:
            reaches = reached(made, index, owners, "text", [k])[k]
            return {str(target): asdict(reach) for target, reach in reaches.items()}

        reaches = made.chosen(f"{key}_{k}", choose)
        told["calibrate_cpu_s"] = made.cpu_s(f"{key}_{k}")
        for target, found in reaches.items():
            if float(target) not in TARGETS:
                continue
            reach = Reach(**found)

            def search(queries: Floats, k: int = k, reach: Reach = reach) -> Floats:
                return recall.nearest(served, queries, k, reach.effort, whole)[0]

            how = {"k": k, "target": reach.target, "scanned": reach.scanned, "gap": reach.gap}
            yield Contestant(told | how | {"candidates": reach.candidates}, k, search)


def halves(made: Made) -> Any:
    """The whole vectors in faiss' own form, to put candidates in order."""
    index: Any = faiss.index_factory(made.dim, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(made.trained_on[:1])
    for start in range(0, made.total, PIECE):
        index.add(made.images[start : start + PIECE].astype(np.float32))
    return index


def fastscan(made: Made, code: int, ks: Sequence[int], exact: Any) -> Iterator[Contestant]:
    """An IVF-PQ-FastScan of faiss with codes of so many bytes, of residuals."""
    key = f"IVF{made.lists},PQ{2 * code}x4"

    def build() -> Any:
        slow: Any = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
        slow.cp.min_points_per_centroid = slow.pq.cp.min_points_per_centroid = 1
        filled(made, slow)
        return slow

    index: Any = faiss.IndexIVFPQFastScan(made.index(key, build))
    both: Any = faiss.IndexRefine(index, exact)

    def looked_up(k: int, times: int, probes: int) -> Search:
        within = faiss.SearchParametersIVF(nprobe=probes)
        how = faiss.IndexRefineSearchParameters(k_factor=times, base_index_params=within)
        return lambda queries: both.search(queries, k, params=how)[0]

    told = {
        "index": "faiss IVF-PQ-FastScan",
        "bytes": code + 8,
        "index_bytes": made.index_bytes(key),
    }
    for k in ks:
        for target in TARGETS:

            def choose(k: int = k, target: float = target) -> Chosen:
                return best_of(made, k, target, looked_up)

            found = made.chosen(f"{key}_{k}_{target}", choose)
            times, probes = found["times"], found["probes"]
            how = {"k": k, "target": target, "candidates": k * times, "lists_looked_into": probes}
            yield Contestant(told | how, k, looked_up(k, times, probes))


def best_of(
    made: Made, k: int, target: float, looked_up: Callable[[int, int, int], Search]
) -> Chosen:
    """The fastest of the pairs of candidates and lists by which a target is found."""
    some, least = made.least_of_some(k)
    best: tuple[tuple[float, float], Chosen] | None = None
    numbers = ascending(made.lists)
    for times in reversed([t for t in TIMES if k * t <= min(MOST_CANDIDATES, made.total)]):

        def finds(probes: int, times: int = times) -> bool:
            return share(looked_up(k, times, probes), some, least) >= target

        # With fewer candidates it takes more lists; so many more that it cannot pay are not tried.
        tried = numbers[:MORE] if best else numbers
        if best and not finds(tried[-1]):
            break
        probes = least_that(finds, tried)
        taken = min(cpu(looked_up(k, times, probes), some)[0] for _ in range(2))
        found = share(looked_up(k, times, probes), some, least)
        cost = round(max(0.0, target - found), 3), taken
        if best is None or cost < best[0]:
            best = cost, {"times": times, "probes": probes}
        numbers = numbers[numbers.index(probes) :]
    assert best is not None
    return best[1]


def hnsw(made: Made, kind: str, links: int, width: int, ks: Sequence[int]) -> Iterator[Contestant]:
    """A graph of faiss.

    Args:
        made: what it is made of.
        kind: what it keeps of a vector, ``Flat`` or ``SQ8``.
        links: of a vector at each level; twice as many at the lowest.
        width: of the search for the links of a new vector, faiss' efConstruction.
        ks: results.
    """
    key = f"HNSW{links},{kind}"

    def build() -> Any:
        index: Any = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = width
        index.train(made.trained_on)
        for start in range(0, made.total, PIECE):
            index.add(made.images[start : start + PIECE].astype(np.float32))
        return index

    index = made.index(f"{key}_{width}", build)
    told = {"index": f"faiss {key}", "efConstruction": width}
    told |= {"index_bytes": made.index_bytes(f"{key}_{width}")}

    def looked_up(k: int, far: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=far)
        return lambda queries: index.search(queries, k, params=parameters)[0]

    for k in ks:
        for target in TARGETS:

            def choose(k: int = k, target: float = target) -> Chosen:
                some, least = made.least_of_some(k)

                def finds(width: int) -> bool:
                    return share(looked_up(k, width), some, least) >= target

                return {"far": least_that(finds, ascending(4_000))}

            far = made.chosen(f"{key}_{width}_{k}_{target}", choose)["far"]
            yield Contestant(
                told | {"k": k, "target": target, "efSearch": far}, k, looked_up(k, far)
            )


def tax(made: Made) -> None:
    """Vectors looked at by captions and by images for a recall of 0.95 of the ten nearest.

    By fixed numbers of lists and by a gap, in which codes play no part; and by codes of one bit of
    ours, whose gap makes up for what they lose, as calibrated on the pool's own pairs.
    """
    key = f"RR{made.dim},IVF{made.lists},RaBitQ"
    index: Any = faiss.index_factory(made.dim, key, faiss.METRIC_INNER_PRODUCT)
    index.chain.at(0).train(made.trained_on)
    filled(made, index)
    owners, lists = owners_of(made, index), ann.inverted(index)
    sizes = np.bincount(owners, minlength=made.lists)
    fixed: dict[str, float] = {}
    by_gap: dict[str, float] = {}
    for kind in layout.SIDES:
        queries = made.unseen(kind)
        near = in_lists(made.unseen_truth(kind)[:, : neighbours.KEPT], owners)
        nothing = np.zeros_like(queries)  # these queries have no pair in the pool
        question = recall.Question(index, queries, near, nothing)
        gap, probes = question.gap(WHOLE_RECALL), question.probes()
        numbers = lists.quantizer.search(ann.inner(index, queries), probes)[1]
        fixed[kind] = float(sizes[numbers].sum(axis=1).mean()) / made.total
        by_gap[kind] = Scanned(index, sizes, queries).share(gap)
    told: dict[str, Any] = {"tax": {kind: round(part, 5) for kind, part in fixed.items()}}
    told["fixed_text_by_fixed_image"] = round(fixed["text"] / fixed["image"], 3)
    told["gap"] = {kind: round(part, 5) for kind, part in by_gap.items()}
    told["gap_text_by_fixed_image"] = round(by_gap["text"] / fixed["image"], 3)
    for kind in layout.SIDES:
        own = reached(made, index, owners, kind, [neighbours.NEIGHBOURS])
        told[f"ours_{kind}"] = own[neighbours.NEIGHBOURS][WHOLE_RECALL].scanned
        told[f"ours_{kind}_by_fixed_image"] = round(told[f"ours_{kind}"] / fixed["image"], 3)
    print(json.dumps(told), flush=True)


def autofaiss(made: Made, python: str) -> None:
    """The peer, in its own environment; ten nearest."""
    script = Path(__file__).with_name("index_autofaiss.py")
    some, some_tenth = made.least_of_some(neighbours.NEIGHBOURS)
    folder = made.folder / "autofaiss"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    np.save(folder / "images" / "images.npy", made.images.astype(np.float32))
    np.save(folder / "some.npy", some)
    np.save(folder / "some_tenth.npy", some_tenth)
    np.save(folder / "unseen.npy", made.unseen())
    np.save(folder / "unseen_tenth.npy", made.least(neighbours.NEIGHBOURS))
    size = str(made.dim // 8 + 8 + 8)
    subprocess.run([python, str(script), str(folder), size], check=True, stdout=sys.stdout)


def contestants(made: Made, options: argparse.Namespace) -> Iterator[Contestant]:
    """Build what is asked for."""
    if "ours" in options.only:
        for key in options.kinds:
            yield from ours(made, key, options.k)
    if "fastscan" in options.only:
        exact = halves(made)
        for code in options.codes or (made.dim // 8, made.dim // 4):
            yield from fastscan(made, code, options.k, exact)
    for name, kind in {"hnsw": "Flat", "hnsw_sq8": "SQ8"}.items():
        if name in options.only:
            yield from hnsw(made, kind, options.links, options.width, options.k)


def run(options: argparse.Namespace, folder: Path) -> None:
    """Build each, search each, print json lines."""
    sizes = options.vectors, options.dim, options.queries, options.lists
    made = Made(folder, *sizes, per_cluster=options.cluster)
    known: Mapping[str, Any] = {"vectors": made.total, "dim": made.dim, "lists": made.lists}
    print(json.dumps({**known, "compiled": faiss.get_compile_options()}), flush=True)
    if "tax" in options.only:
        tax(made)
    if options.autofaiss:
        autofaiss(made, options.autofaiss)
    ones = list(contestants(made, options))
    for threads in options.threads:
        measure(made, ones, options.rounds, threads)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1_000)
    whose = "Made-up vectors in each cluster; 0: vectors of the demo's model, --dim 128."
    parser.add_argument("--cluster", type=int, default=VECTORS_PER_CLUSTER, help=whose)
    parser.add_argument("--lists", type=int, default=2**20, help="At most; what suits a pool.")
    parser.add_argument("--k", type=int, nargs="+", default=[10], help="10, 100 or both.")
    parser.add_argument("--data", type=Path, help="Vectors, truth and graphs are kept there.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kinds", nargs="+", default=["RR{dim},IVF{lists},RaBitQ"])
    parser.add_argument("--codes", type=int, nargs="+", help="Bytes of codes of the peer.")
    parser.add_argument("--autofaiss", metavar="PYTHON", help="Of an environment with autofaiss.")
    parser.add_argument("--links", type=int, default=32, help="Of a graph.")
    parser.add_argument("--width", type=int, default=64, help="efConstruction of a graph.")
    names = ["ours", "fastscan", "hnsw", "hnsw_sq8", "tax"]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if options.data:
        run(options, options.data)
        return
    with TemporaryDirectory() as name:
        run(options, Path(name))


if __name__ == "__main__":
    main()
