"""autofaiss on vectors that `benchmarks/index.py` made: run by it, in the peer's environment.

Builds what autofaiss chooses for so many bytes a vector, unless the folder has it. What its codes
find alone, in all lists, is told first. Then it is given a second look by the whole vectors, which
the peer itself has not (faiss' own, of float16 in memory): it looks into the least number of lists
that finds the target for some captions, with the number of candidates for which that is fastest,
and is measured on others. The steps of its building are told on stderr by the peer.

    python index_autofaiss.py FOLDER BYTES_PER_VECTOR
"""

import json
import resource
import sys
import time
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from autofaiss import build_index

TARGETS = (0.9, 0.95)
TIMES = (10, 20, 40, 80, 160, 320)
"""As many candidates as results."""
ALONE = 1
STEP = 1.15
"""From one number of lists to the next that is tried."""
MORE = 16
"""Numbers of lists that are tried beyond those that more candidates need."""
K = 10
BATCH = 64
ROUNDS = 3
ALIKE = 1e-4
PIECE = 100_000


def built(folder, size, images):
    """Ask for the index; figures of it are kept beside it."""
    figures = folder / "figures.json"
    if figures.exists():
        return json.loads(figures.read_text())
    faiss.omp_set_num_threads(1)
    cpu, wall = time.process_time(), time.perf_counter()
    build_index(
        str(folder / "images"),
        index_path=str(folder / "peer.index"),
        index_infos_path=str(folder / "peer.json"),
        metric_type="ip",
        max_index_memory_usage=f"{size * len(images) / 1e6:.1f}MB",
        current_memory_available="8GB",
        nb_cores=1,
        verbose=20,
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    told = {
        "index": "autofaiss",
        "key": json.loads((folder / "peer.json").read_text())["index_key"],
        "bytes": round((folder / "peer.index").stat().st_size / len(images), 1),
        "build_cpu_s": round(cpu, 1),
        "build_s": round(wall, 1),
        "most_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    figures.write_text(json.dumps(told))
    return told


class Asked:
    """An index and the vectors, to be searched by a number of lists and of candidates."""

    def __init__(self, index, images):
        self.index, self.lists = index, faiss.extract_index_ivf(index)
        self._exact = faiss.index_factory(images.shape[1], "SQfp16", faiss.METRIC_INNER_PRODUCT)
        self._exact.train(np.zeros((1, images.shape[1]), np.float32))
        for start in range(0, len(images), PIECE):
            self._exact.add(np.array(images[start : start + PIECE]))
        self._refined = faiss.IndexRefine(index, self._exact)

    def look_into(self, lists, times):
        """As the peer names it when it tunes an index."""
        names = f"nprobe={lists}"
        if isinstance(faiss.downcast_index(self.lists.quantizer), faiss.IndexHNSW):
            names += f",quantizer_efSearch={2 * lists}"
        faiss.ParameterSpace().set_index_parameters(self.index, names)
        self._refined.k_factor = times

    def search(self, queries, times):
        """Similarities of the vectors of the ten nearest, batch by batch; seconds of CPU, clock."""
        index = self.index if times == ALONE else self._refined
        batches = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
        cpu, clock = time.process_time(), time.perf_counter()
        ids = np.concatenate([index.search(batch, K)[1] for batch in batches])
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        return ids, cpu, clock

    def recall(self, queries, tenth, ids):
        """Share of the ten nearest."""
        found = np.stack([self._exact.reconstruct_batch(np.maximum(own, 0)) for own in ids])
        similar = np.einsum("qd,qkd->qk", queries, found)
        similar[ids < 0] = -np.inf
        return float((similar >= tenth[:, None] - ALIKE).mean())


def ascending(most):
    """Numbers of lists, each a little more than the one before."""
    numbers = [1]
    while numbers[-1] < most:
        numbers.append(min(most, max(numbers[-1] + 1, int(numbers[-1] * STEP))))
    return numbers


def fastest(asked, queries, tenth, target):
    """Lists and times candidates by which a target is found in the least time.

    With fewer candidates it takes more lists; so many more that it cannot pay are not tried.
    """
    numbers, best = ascending(asked.lists.nlist), None
    for times in reversed(TIMES):
        for probes in numbers[: MORE if best else None]:
            asked.look_into(probes, times)
            ids, cpu, _ = asked.search(queries, times)
            if asked.recall(queries, tenth, ids) >= target:
                break
        else:
            break
        cpu = min(cpu, asked.search(queries, times)[1])
        if best is None or cpu < best[0]:
            best = cpu, probes, times
        numbers = numbers[numbers.index(probes) :]
    return best[1:] if best else (asked.lists.nlist, TIMES[-1])


def main() -> None:
    """Build, search, print json lines."""
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    images = np.load(folder / "images" / "images.npy", mmap_mode="r")
    print(json.dumps(built(folder, size, images)), flush=True)
    index = faiss.read_index(str(folder / "peer.index"))
    some, unseen = np.load(folder / "some.npy"), np.load(folder / "unseen.npy")
    some_tenth, tenth = np.load(folder / "some_tenth.npy"), np.load(folder / "unseen_tenth.npy")
    asked = Asked(index, images)
    faiss.omp_set_num_threads(1)
    asked.look_into(asked.lists.nlist, ALONE)
    alone = asked.recall(some, some_tenth, asked.search(some, ALONE)[0])
    print(json.dumps({"index": "autofaiss", "all_lists_alone": round(alone, 4)}), flush=True)
    for target in TARGETS:
        probes, times = fastest(asked, some, some_tenth, target)
        asked.look_into(probes, times)
        told = {"index": "autofaiss", "target": target, "candidates": K * times}
        told |= {"lists_looked_into": probes, "of_lists": asked.lists.nlist}
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            rounds = [asked.search(unseen, times) for _ in range(ROUNDS)]
            found = asked.recall(unseen, tenth, rounds[0][0])
            told |= {"threads": threads, "recall": round(found, 4)}
            told["queries_per_cpu_s"] = round(len(unseen) / median(own[1] for own in rounds))
            told["queries_per_s"] = round(len(unseen) / median(own[2] for own in rounds))
            print(json.dumps(told), flush=True)
        faiss.omp_set_num_threads(1)


if __name__ == "__main__":
    main()
