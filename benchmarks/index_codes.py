"""What codes of few bytes find of the demo model's own vectors, with intervals.

Scenes of the demo's kind are drawn and embedded with its model; most images are the pool, 500 pairs
beside them ask. For each seed other scenes are drawn and all codes are trained anew. Every list is
looked into: which are is decided by recall (``index.effort.recall``). *Alone* is the recall of a
caption's ten nearest images by the codes, *second* after a second look at 200 of them by the whole
vectors, after one at 20 too: 20 of these are what 200 are of a pool ten times as large. Intervals
are those of 2,000 draws of the queries of all seeds together, with replacement.

    python benchmarks/index_codes.py [--images 8000] [--seeds 3]
"""

import argparse
import json
from collections import defaultdict

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.demo_vectors import DemoSource
from clip_assets.index.engine import ann

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

ASKED = 500
LISTS = 32
SECOND = (0, 20, 200)
DRAWS = 2_000
TRAINED = 0.5
"""Of the images; the others are strangers to the codes, as most of a large pool are."""


def codes(dim: int) -> dict[str, int]:
    """Kinds by their bytes a vector, id included."""
    inner = f"IVF{LISTS}"
    return {
        f"RR{dim},{inner},RaBitQ2": dim // 4 + 20 + 8,
        f"{inner},PQ32": 40,
        f"P64,RR64,{inner},PQ32": 40,
        f"RR{dim},{inner},RaBitQ": dim // 8 + 8 + 8,
        f"{inner},PQ16": 24,
        f"P64,RR64,{inner},PQ16": 24,
        f"P32,RR32,{inner},PQ16": 24,
        f"{inner},PQ8": 16,
        f"P32,RR32,{inner},PQ8": 16,
    }


def found(index: ann.Index, images: Floats, queries: Floats, true: Ids, second: int) -> Floats:
    """(q,) recall of the ten nearest of each query."""
    _, ids = ann.search(index, queries, max(10, second))
    if second:
        similar = np.einsum("qd,qkd->qk", queries, images[ids])
        ids = np.take_along_axis(ids, np.argsort(-similar, axis=1, kind="stable"), 1)
    hits = [np.isin(own[:10], right).mean() for own, right in zip(ids, true, strict=True)]
    return np.array(hits, np.float32)


def interval(recalls: Floats) -> tuple[float, float]:
    """The middle 95 of 100 means of as many queries, drawn with replacement."""
    random = np.random.default_rng(0)
    means = [random.choice(recalls, len(recalls)).mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return round(low, 4), round(high, 4)


def main() -> None:
    """Draw, embed, encode, ask, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    recalls: dict[tuple[str, int], list[Floats]] = defaultdict(list)
    sizes: dict[str, int] = {}
    source = DemoSource()
    for seed in range(options.seeds):
        vectors, texts = source.pairs(options.images + ASKED, seed)
        images, queries = vectors[ASKED:], texts[:ASKED]
        true = np.argsort(-(queries @ images.T), axis=1, kind="stable")[:, :10]
        trained_on = images[: int(TRAINED * len(images))]
        for key, size in codes(images.shape[1]).items():
            index = ann.trained(key, images.shape[1], trained_on)
            ann.add(index, images)
            ann.set_probes(index, LISTS)
            sizes[key] = size
            for second in SECOND:
                recalls[key, second].append(found(index, images, queries, true, second))
    for (key, second), of_seeds in recalls.items():
        both = np.concatenate(of_seeds)
        told = {"key": key, "bytes": sizes[key], "second_look_at": second}
        told |= {"recall": round(float(both.mean()), 4), "interval": interval(both)}
        told |= {"of_seeds": [round(float(one.mean()), 4) for one in of_seeds]}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
