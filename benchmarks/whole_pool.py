"""A pool of many made-up pairs through its own assets, from adopted embeddings to searches.

A folder of finished embeddings is made up as others publish them (npy files of both sides with
parquet files of rows; ``made_up_vectors``), adopted, and every asset up to the served index is made
by its own stage, one asset after the other, by as many processes as are asked for. Of each asset is
told: CPU seconds of its processes, seconds of the clock, the most memory that one of its keys took
(what the manifests say), bytes read and written. A few captions of each file are
embedded by the demo's model, because adopting tries whose vectors they are.

Then captions that no vector of the pool belongs to are searched for, and compared with a pass over
all vectors. What is made stays in the folder; a run that ended early goes on.

    python benchmarks/whole_pool.py FOLDER [--vectors 12800000] [--per-file 200000] [--workers 2]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets import graph, layout
from clip_assets.layout import WHOLE, Key
from clip_assets.settings import InferenceSettings

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

DIM = 128
"""Of the demo's model."""

ONLY_ONE = (layout.INDEX_RECIPE, layout.FAISS_INDEX, layout.ID_MAPPING)
ASSETS = (
    layout.RAW_PAIRS,
    layout.UNIQUE_PAIRS,
    layout.IMAGE_SHARDS,
    layout.EMBEDDINGS,
    layout.INDEX_RECIPE,
    layout.INDEX_SEGMENTS,
    layout.FAISS_INDEX,
    layout.ID_MAPPING,
    layout.POOL_METADATA,
)

TRIED = 32
"""Captions of each file that are embedded, as many as adopting tries."""

BATCH = 64
K = (10, 100)
TARGETS = (0.9, 0.95, 0.99)
BLOCK = 65_536


def source_of(vectors: int) -> Source:
    """The same for every process."""
    return Source(DIM, max(1, vectors // VECTORS_PER_CLUSTER))


def make_files(options: argparse.Namespace, numbers: list[int]) -> None:
    """Write files of vectors and rows, each whole at once."""
    from clip_assets.encoders.openclip.loading import load_encoder

    encoder = load_encoder(InferenceSettings(model="demo", pretrained=None), "cpu")
    source, folder = source_of(options.vectors), Path(options.folder) / "source"
    for number in numbers:
        rows = min(options.per_file, options.vectors - number * options.per_file)
        images, texts = source.pairs(rows, seed=1_000 + number)
        captions = [f"made-up picture {place} of file {number}" for place in range(rows)]
        texts[:TRIED] = encoder.encode_captions(captions[:TRIED])[0]
        urls = [f"https://images.example/{number}/{place}.jpg" for place in range(rows)]
        for name, side in (("img_emb", images), ("text_emb", texts)):
            np.save(folder / name / f"{name}_{number:04d}.npy", side.astype(np.float16))
        table = pa.table({"url": urls, "caption": captions})
        pq.write_table(table, folder / "metadata" / f"metadata_{number:04d}.parquet")


def adopt(options: argparse.Namespace) -> None:
    """Plan the partitions."""
    from clip_assets.partitions.adoptable import FolderNames, embeddings_in
    from clip_assets.partitions.adopting import Urls
    from clip_assets.partitions.adopting import adopt as planned

    folder = Path(options.folder)
    pool = graph.open_pool(str(folder / "pool"), create=True)
    pieces = embeddings_in(str(folder / "source"), "demo", FolderNames())
    planned(pool.store, pieces, "demo", Urls(), pool.settings.sources.rows_per_partition)


def make(options: argparse.Namespace, asset: str, keys: list[str]) -> None:
    """Make keys of an asset, a line for each."""
    import faiss

    # As many threads as processes leave cores.
    faiss.omp_set_num_threads(options.threads)
    record = graph.ASSETS[asset]
    pool = graph.open_pool(str(Path(options.folder) / "pool"))
    for key in keys:
        began, clock, before = time.process_time(), time.monotonic(), _bytes()
        outcome = record.make(pool, Key(key))
        read, written = (now - then for now, then in zip(_bytes(), before, strict=True))
        told = {
            "asset": asset,
            "key": key,
            "cpu_s": round(time.process_time() - began, 2),
            "clock_s": round(time.monotonic() - clock, 1),
            "peak_mb": (outcome.manifest.peak_memory_bytes or 0) // 10**6,
            "read_mb": read // 10**6,
            "written_mb": written // 10**6,
            "out_mb": sum(output.size_bytes for output in outcome.manifest.outputs) // 10**6,
            "reused": outcome.reused,
        }
        print(json.dumps(told), flush=True)


def _bytes() -> tuple[int, int]:
    """Read and written by this process, cached or not."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def search(options: argparse.Namespace) -> None:
    """Search for captions never seen, and compare with all vectors."""
    from clip_assets import Searcher, embeddings

    pool = graph.open_pool(str(Path(options.folder) / "pool"))
    texts = source_of(options.vectors).pairs(options.queries, seed=7)[1]
    true = _least(texts, (vectors for _, vectors in embeddings(pool, "image")))
    clock, cpu = time.monotonic(), time.process_time()
    with Searcher.open(pool) as searcher:
        searcher.search_many(texts[:1], 10, kind="text")
        told: dict[str, Any] = {"first_clock_s": round(time.monotonic() - clock, 2)}
        told |= {"first_cpu_s": round(time.process_time() - cpu, 2)}
        print(json.dumps(told), flush=True)
        for k in K:
            for target in TARGETS:
                began, clock, found = time.process_time(), time.monotonic(), []
                for start in range(0, len(texts), BATCH):
                    batch = texts[start : start + BATCH]
                    nearest = searcher.search_many(batch, k, kind="text", recall_target=target)
                    found.append(nearest.similarities)
                took = time.process_time() - began, time.monotonic() - clock
                right = np.concatenate(found) >= true[k][:, None] - 1e-4
                shares = np.minimum(right.sum(axis=1), k) / k
                reach = searcher.reach(k, kind="text", recall_target=target)
                told = {
                    "k": k,
                    "target": target,
                    "found": round(float(shares.mean()), 4),
                    "of_captions": len(texts),
                    "uncertainty": round(1.96 * float(shares.std()) / len(shares) ** 0.5, 4),
                    "per_cpu_s": round(len(texts) / took[0], 1),
                    "per_s": round(len(texts) / took[1], 1),
                    "peak_mb": peak_mb(),
                    "reach": str(reach),
                }
                print(json.dumps(told), flush=True)


def _least(queries: Floats, arrays: Any) -> dict[int, Floats]:
    """Similarity of the k-th nearest of each query, by k."""
    best = np.full((len(queries), max(K)), -np.inf, np.float32)
    for array in arrays:
        for start in range(0, len(array), BLOCK):
            similar = queries @ array[start : start + BLOCK].astype(np.float32).T
            # All but the first blocks have few that are nearer than what is known.
            rows, places = np.nonzero(similar > best[:, -1:])
            cuts = np.searchsorted(rows, np.arange(len(queries) + 1))
            for row in np.unique(rows).tolist():
                own = similar[row, places[cuts[row] : cuts[row + 1]]]
                best[row] = -np.sort(-np.concatenate([best[row], own]))[: max(K)]
    return {k: best[:, k - 1] for k in K}


def peak_mb() -> int:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_000


def _started(options: argparse.Namespace, *more: str, threads: int) -> "subprocess.Popen[bytes]":
    names = "folder", "vectors", "per_file", "queries"
    same = {name: getattr(options, name) for name in names}
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS")}
    arguments = [
        str(same.pop("folder")),
        *(f"--{name.replace('_', '-')}={value}" for name, value in same.items()),
        f"--threads={threads}",
        *more,
    ]
    return subprocess.Popen([sys.executable, __file__, *arguments], env=environment)


def _step(options: argparse.Namespace, name: str, shares: list[list[str]]) -> None:
    """Do what a step is for, some of it in each process, and tell what it cost."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    threads = max(1, options.workers // len(shares))
    running = [_started(options, *share, threads=threads) for share in shares if share]
    codes = [one.wait() for one in running]
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = os.getloadavg()[0]
    told = {
        "step": name,
        "cpu_s": round(now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime, 1),
        "clock_s": round(time.monotonic() - clock, 1),
        "load": round(load, 1),
        "processes": len(running),
        "at": time.strftime("%H:%M:%S"),
    }
    print(json.dumps(told), flush=True)
    if any(codes):
        raise SystemExit(f"{name} ended with {codes}")


def everything(options: argparse.Namespace) -> None:
    """All steps."""
    folder, workers = Path(options.folder), options.workers
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / "source" / name).mkdir(parents=True, exist_ok=True)
    pool = folder / "pool"
    pool.mkdir(exist_ok=True)
    settings = {"inference": {"model": "demo", "pretrained": None}}
    (pool / "pool.yaml").write_text(json.dumps(settings))
    if not (pool / "partitions").exists():
        files = [str(n) for n in range(-(-options.vectors // options.per_file))]
        shares = [["--files", *files[n::workers]] for n in range(min(workers, len(files)))]
        _step(options, "made up", shares)
        _step(options, "adopt", [["--adopt"]])
    keys = list(graph.open_pool(str(pool)).partitions)
    for asset in ASSETS:
        if asset in ONLY_ONE:
            shares = [["--asset", asset, "--keys", WHOLE]]
        else:
            mine = [keys[n::workers] for n in range(workers)]
            shares = [["--asset", asset, "--keys", *own] for own in mine if own]
        _step(options, asset, shares)
    _step(options, "search", [["--search"]])


def main() -> None:
    """Do all, or what a process of it does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--vectors", type=int, default=12_800_000)
    parser.add_argument("--per-file", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--adopt", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--asset", help=argparse.SUPPRESS)
    parser.add_argument("--keys", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--search", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files is not None:
        make_files(options, options.files)
    elif options.adopt:
        adopt(options)
    elif options.asset:
        make(options, options.asset, options.keys)
    elif options.search:
        search(options)
    else:
        everything(options)


if __name__ == "__main__":
    main()
