"""autofaiss on vectors that `benchmarks/index.py` made: run by it, in the peer's environment.

Builds what autofaiss chooses for so many bytes a vector, then looks into the least number of lists
that finds the target for some captions, and measures on others; without and with a second look at
200 candidates by the whole vectors, which the peer itself has not. The steps of its building are
told on stderr by the peer.

    python index_autofaiss.py FOLDER BYTES_PER_VECTOR
"""

import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np
from autofaiss import build_index

TARGETS = (0.9, 0.95)
CANDIDATES = 200
BATCH = 64
ALIKE = 1e-4


def search(index, queries, images, second):
    """Ids of the ten nearest, batch by batch."""
    found = []
    for start in range(0, len(queries), BATCH):
        asked = queries[start : start + BATCH]
        _, ids = index.search(asked, CANDIDATES if second else 10)
        if second:
            similar = np.einsum("qd,qkd->qk", asked, images[ids].astype(np.float32))
            similar[ids < 0] = -np.inf
            ids = np.take_along_axis(ids, np.argsort(-similar, axis=1)[:, :10], 1)
        found.append(ids)
    return np.concatenate(found)


def measured(index, queries, tenth, images, second):
    """Recall of ten, queries in a second of CPU time, and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    ids = search(index, queries, images, second)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    similar = np.einsum("qd,qkd->qk", queries, images[ids].astype(np.float32))
    similar[ids < 0] = -np.inf
    right = similar >= tenth[:, None] - ALIKE
    return float(right.mean()), len(queries) / cpu, len(queries) / wall


def main() -> None:
    """Build, search, print json lines."""
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    images = np.load(folder / "images" / "images.npy", mmap_mode="r")
    faiss.omp_set_num_threads(1)
    cpu, wall = time.process_time(), time.perf_counter()
    index, _ = build_index(
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
    whole = np.array(images).astype(np.float16)
    told = {
        "index": "autofaiss",
        "key": json.loads((folder / "peer.json").read_text())["index_key"],
    }
    told["bytes"] = round((folder / "peer.index").stat().st_size / len(images), 1)
    print(json.dumps(told | {"build_cpu_s": round(cpu, 1), "build_s": round(wall, 1)}), flush=True)
    some, unseen = np.load(folder / "some.npy"), np.load(folder / "unseen.npy")
    some_tenth, tenth = np.load(folder / "some_tenth.npy"), np.load(folder / "unseen_tenth.npy")
    lists = faiss.extract_index_ivf(index)
    for second in (False, True):
        for target in TARGETS:
            probes, share = 1, 0.0
            while share < target and probes < lists.nlist:
                probes = min(lists.nlist, max(probes + 1, int(probes * 1.3)))
                lists.nprobe = probes
                share = measured(index, some, some_tenth, whole, second)[0]
            for threads in (1, 2):
                faiss.omp_set_num_threads(threads)
                share, by_cpu, by_clock = measured(index, unseen, tenth, whole, second)
                told = {"index": "autofaiss", "second_look": second, "target": target}
                told |= {"lists_looked_into": probes, "of_lists": lists.nlist, "threads": threads}
                told |= {"recall": round(share, 4), "queries_per_cpu_s": round(by_cpu)}
                print(json.dumps(told | {"queries_per_s": round(by_clock)}), flush=True)
            faiss.omp_set_num_threads(1)


if __name__ == "__main__":
    main()
