"""What a refresh costs the assets of an index, and what searches find after many of them.

Embeddings are made up (``made_up_vectors``), everything after them is made by the assets' own
stages, in this process, which has loaded its libraries before anything is counted.

* ``cost``: a pool of many partitions, and its index. Then two partitions of +1 % come, one after
  the other, of the same contents. Of each step are told CPU seconds of one thread, bytes read and
  written. The pool stays in the folder and is used again; the refreshes are made in a copy of it.
* ``drift``: a pool, and refreshes of +1 % whose contents it had not, as in ``index_refresh``.
  Every few refreshes captions never seen, of all the pool's contents in proportion, are searched
  for as the served version says, and compared with an exact search: what is found for each recall
  that can be asked for, and which share of the vectors is looked at. Beside it the same of a pool
  of the same partitions whose index is made from nothing. No codes are tried: the first that fit
  are taken.

    python benchmarks/refreshes.py cost FOLDER [--vectors 200000] [--partitions 50]
    python benchmarks/refreshes.py drift FOLDER [--vectors 40000] [--refreshes 20]
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets import layout
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.index import trials, versions
from clip_assets.index.effort import recall
from clip_assets.index.effort.code_ranks import Scanned
from clip_assets.index.effort.reach import TARGETS, for_target
from clip_assets.index.engine import ann
from clip_assets.index.exact import ExactVectors
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Indexed

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

K = 10
BATCH = 64


def opened(folder: Path, options: argparse.Namespace) -> Indexed:
    """A pool whose lists are trained anew by nothing but being made."""
    settings: dict[str, Any] = {"flat_limit": 100, "retrain_far": 1, "retrain_imbalance": 1000}
    if options.index_bytes:
        settings["max_memory_bytes"] = options.index_bytes
    folder.mkdir(parents=True, exist_ok=True)
    return Indexed(Store.open(str(folder)), index=settings)


def put(made: Indexed, number: int, sides: tuple[Floats, Floats]) -> None:
    """A partition."""
    rows, dim = sides[0].shape
    identity = ModelIdentity("made-up", None, "f" * 64, "bytes", dim, "fp32")
    sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), 256)
    told = [
        {
            "uid": f"{number << 32 | row:032x}",
            "url": f"https://images.example/{number}/{row}.jpg",
            "caption": f"made-up picture {row} of partition {number}",
            "sha256": "0" * 64,
            "similarity": 0.3,
        }
        | sizes
        for row in range(rows)
    ]
    made.put(number, sides, told, content=str(number), model=identity)


def step(name: str, work: Callable[[], object]) -> dict[str, Any]:
    """Make something; what it cost."""
    began, before = time.process_time(), _bytes()
    work()
    read, written = (now - then for now, then in zip(_bytes(), before, strict=True))
    spent = time.process_time() - began
    return {name: round(spent, 3), f"{name}_read_mb": read >> 20, f"{name}_mb": written >> 20}


def refreshed(made: Indexed) -> dict[str, Any]:
    """Bring an index up to date; what each step cost."""
    steps = {"recipe": made.recipe, "segments": made.segment, "merge": made.merge, "map": made.map}
    told: dict[str, Any] = {}
    for name, work in steps.items():
        told |= step(name, work)
    return told | {"cpu_s": round(sum(told[name] for name in steps), 3)}


def _bytes() -> tuple[int, int]:
    """Read and written by this process, cached or not; mapped files are not counted."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def cost(options: argparse.Namespace) -> None:
    """What all costs, and two refreshes."""
    folder, total = Path(options.folder), options.vectors
    source = Source(options.dim, max(1, total // VECTORS_PER_CLUSTER))
    whole = folder / "whole"
    made = opened(whole, options)
    if versions.current(made.store) is None:
        each = total // options.partitions
        for number in range(options.partitions):
            put(made, number, source.pairs(each, seed=100 + number))
        print(json.dumps({"all": refreshed(made)}), flush=True)
    copy = folder / "refreshed"
    shutil.rmtree(copy, ignore_errors=True)
    made = opened(shutil.copytree(whole, copy), options)
    more = options.partitions
    for number in range(more, more + options.refreshes):
        put(made, number, source.pairs(int(options.share * total), seed=100 + number))
        print(json.dumps({f"refresh {number - more + 1}": refreshed(made)}), flush=True)


def nearest(queries: Floats, images: Floats) -> Ids:
    """The nearest images of each query, (q, K)."""
    exact = faiss.IndexFlatIP(images.shape[1])
    exact.add(images)
    return exact.search(queries, K)[1]


def served(made: Indexed, name: str, asked: Floats, true: Ids) -> dict[str, Any]:
    """What searches of a version find for each recall, and the share that they look at."""
    version = versions.read(made.store, name)
    told: dict[str, Any] = {}
    path = layout.index(name, "image")
    with ExitStack() as stack, made.store.local(path) as file:
        index = ann.read(file, str(file), mapped=True)
        exact = ExactVectors(made.pool, version.slots, "image", stack)
        scanned = Scanned(index, sizes_of(index), asked)
        told["lists"] = len(sizes_of(index))
        for target in TARGETS:
            reach = for_target(version.reach["image"]["text"], target, K)
            found = [
                recall.nearest(index, asked[start : start + BATCH], K, reach.effort, exact)[1]
                for start in range(0, len(asked), BATCH)
            ]
            pairs = zip(np.concatenate(found), true, strict=True)
            same = [np.isin(own, one).mean() for own, one in pairs]
            told[f"{target:g}"] = {
                "found": round(float(np.mean(same)), 4),
                "told": reach.recall,
                "scanned": round(scanned.share(reach.gap), 5),
                "candidates": reach.candidates,
                "lost": round(reach.lost, 4),
            }
    return told


def sizes_of(index: ann.Index) -> Ids:
    """Vectors in each list."""
    held = ann.inverted(index)
    assert held is not None
    return np.array([held.get_list_size(number) for number in range(held.nlist)], np.int64)


def drift(options: argparse.Namespace) -> None:
    """Refresh with other contents again and again."""
    trials.LEAST_VECTORS = 10**9
    folder, total, share = Path(options.folder), options.vectors, options.share
    shutil.rmtree(folder, ignore_errors=True)
    source = Source(options.dim, max(1, total // VECTORS_PER_CLUSTER))
    made = opened(folder / "refreshed", options)
    parts = [
        source.pairs(total // options.partitions, seed=100 + n) for n in range(options.partitions)
    ]
    for number, part in enumerate(parts):
        put(made, number, part)
    asked = source.pairs(options.queries, seed=2)[1]
    print(json.dumps({"all": refreshed(made)}), flush=True)
    for refresh in range(options.refreshes + 1):
        if refresh:
            topics = 1 + (refresh - 1) // options.refreshes_of_a_kind
            new = int(share * total)
            other = Source(options.dim, max(1, 2 * new // VECTORS_PER_CLUSTER), topics=topics)
            parts.append(other.pairs(new, seed=1_000 + refresh))
            strangers = other.pairs(int(share * options.queries), seed=2_000 + refresh)[1]
            asked = np.concatenate([asked, strangers])
            put(made, len(parts) - 1, parts[-1])
            print(json.dumps({f"refresh {refresh}": refreshed(made)["cpu_s"]}), flush=True)
        if refresh not in (1, options.refreshes) and refresh % options.told_every:
            continue
        true = nearest(asked, np.concatenate([_stored(images) for images, _ in parts]))
        name = versions.current(made.store)
        assert name is not None
        told = {"refresh": refresh, "refreshed": served(made, name, asked, true)}
        if refresh and not refresh % options.rebuilt_every:
            told["rebuilt"] = served(*_rebuilt(folder, options, parts), asked, true)
        print(json.dumps(told), flush=True)


def _stored(images: Floats) -> Floats:
    return images.astype(np.float16).astype(np.float32)


def _rebuilt(
    folder: Path, options: argparse.Namespace, parts: list[tuple[Floats, Floats]]
) -> tuple[Indexed, str]:
    """A pool of the same partitions whose index is made from nothing, and its version."""
    rebuilt = folder / "rebuilt"
    shutil.rmtree(rebuilt, ignore_errors=True)
    made = opened(rebuilt, options)
    for number, part in enumerate(parts):
        put(made, number, part)
    return made, made.index()


def main() -> None:
    """Run one, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["cost", "drift"])
    parser.add_argument("folder")
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=50)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--index-bytes", type=int, help="Memory of the index; None: as usual.")
    parser.add_argument("--refreshes", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.01, help="Of the pool, in each refresh.")
    parser.add_argument("--refreshes-of-a-kind", type=int, default=5)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--told-every", type=int, default=5)
    parser.add_argument("--rebuilt-every", type=int, default=10)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    print(json.dumps({"compiled": faiss.get_compile_options()}), flush=True)
    {"cost": cost, "drift": drift}[options.what](options)


if __name__ == "__main__":
    main()
