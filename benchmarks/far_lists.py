r"""Lists of one-bit codes searched where they lie: ranges, bytes, seconds and recall by gap.

Vectors are made up (``made_up_vectors``). A process of its own serves their index and the vectors
as a hub does, each of its answers after ``--latency`` seconds, and sends every request on to
another address. All lists of a query are read, and the vectors of its best candidates; none is
kept. *alone* is the share of the ten nearest that codes name as theirs, *of 20* and so on the share
among so many candidates, *put right* what is found when whole vectors put them in order.

    python benchmarks/far_lists.py build/lists --vectors 1000000 --lists 4096
"""

import argparse
import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.far_search import NAME, serve
from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets.files.kept import Kept
from clip_assets.index.effort import afar
from clip_assets.index.effort.reach import Effort
from clip_assets.index.engine import ann
from clip_assets.index.far.far_lists import FarLists
from clip_assets.index.far.far_vectors import Ids, Lying, VectorsElsewhere
from clip_assets.retrieval import far_side

CHUNK = 100_000
POINTS = 64
"""Of each list, in training."""
FILES = ("lists.index", "queries.npy", "nearest.npy", "vectors.npy")

AMONG = (20, 50, 100, 200, 400)
"""Candidates, what of which are the nearest."""


class OneFile:
    """Where vectors lie: one after the other in a file.

    Args:
        uri: of the file.
        path: where it lies here.
    """

    def __init__(self, uri: str, path: Path) -> None:
        self._uri, self._size = uri, path.stat().st_size
        rows, dim = np.load(path, mmap_mode="r").shape
        self._width = dim * 2
        self._head = self._size - rows * self._width

    def find(self, ids: Ids) -> Lying:
        """See ``Whereabouts``."""
        return Lying(np.zeros(len(ids), np.int64), self._head + ids * self._width)

    def file(self, number: int) -> tuple[str, int]:
        """See ``Whereabouts``."""
        del number
        return self._uri, self._size

    def is_replaced(self, number: int) -> bool:
        """See ``Whereabouts``."""
        del number
        return False


def make(folder: Path, total: int, dim: int, lists: int, asked: int) -> None:
    """An index, queries never seen, and the ids of the ten nearest of each."""
    folder.mkdir(parents=True)
    source = Source(dim, max(1, total // VECTORS_PER_CLUSTER))
    queries = source.pairs(asked, seed=2)[1]
    some = source.pairs(min(total, POINTS * lists), seed=3)[0]
    index = ann.trained(f"RR{dim},IVF{lists},RaBitQ", dim, some)
    best, ids = np.full((asked, 10), -np.inf, np.float32), np.full((asked, 10), -1)
    shape = (total, dim)
    whole = np.lib.format.open_memmap(folder / FILES[3], "w+", dtype=np.float16, shape=shape)
    for start in range(0, total, CHUNK):
        images = source.pairs(min(CHUNK, total - start), seed=100 + start // CHUNK)[0]
        ann.add(index, images)
        whole[start : start + len(images)] = images
        near, which = faiss.knn(queries, images, 10, metric=faiss.METRIC_INNER_PRODUCT)
        near, which = np.hstack([best, near]), np.hstack([ids, which + start])
        order = np.argsort(-near, axis=1)[:, :10]
        best, ids = (np.take_along_axis(each, order, 1) for each in (near, which))
    part = folder / "part"
    ann.write(index, part)
    np.save(folder / FILES[1], queries)
    np.save(folder / FILES[2], ids)
    shutil.move(part, folder / FILES[0])


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--lists", type=int, default=4_096)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--gaps", type=float, nargs="+", default=[0.02, 0.04, 0.06, 0.11])
    parser.add_argument("--latency", type=float, default=0.05)
    chosen = parser.parse_args()
    faiss.omp_set_num_threads(1)
    folder: Path = chosen.folder
    if not (folder / FILES[0]).exists():
        make(folder, chosen.vectors, chosen.dim, chosen.lists, chosen.queries)
    queries, nearest = (np.load(folder / name)[: chosen.queries] for name in FILES[1:3])
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    files = {name: folder / name for name in (FILES[0], FILES[3])}
    context.Process(target=serve, args=(files, chosen.latency, theirs), daemon=True).start()
    place = f"{ours.recv()}/datasets/{NAME}/resolve/0"

    def count() -> tuple[int, int, int]:
        ours.send("count")
        return ours.recv()

    began = time.monotonic()
    lists = FarLists(f"{place}/{FILES[0]}", Kept())
    opened, sent = time.monotonic() - began, count()
    print(f"{lists.index.ntotal:,} x {lists.index.d}, {ann.describe(lists.index)}")
    print(f"opened in {opened:.2f} s by {sent[1]} ranges, {sent[2] / 1e6:.2f} MB, head kept")
    lie = OneFile(f"{place}/{FILES[3]}", folder / FILES[3])
    pairs = list(zip(queries, nearest, strict=True))
    print(
        "| gap | lists | most | ranges | most | requests | MB | most | p50 s | p95 s | alone ",
        end="",
    )
    print("".join(f"| of {many} " for many in AMONG), end="| put right |\n")
    for gap in chosen.gaps:
        told = [_asked(lists, lie, row[None], near, gap, count) for row, near in pairs]
        looked, seconds, requests, ranges, size, *recalls = np.array(told).T
        figures = [f"{gap}", f"{looked.mean():.1f}", f"{looked.max():.0f}"]
        figures += [f"{ranges.mean():.1f}", f"{ranges.max():.0f}"]
        figures += [f"{requests.max():.0f}"]
        figures += [f"{size.mean() / 1e6:.2f}", f"{size.max() / 1e6:.2f}"]
        figures += [f"{np.quantile(seconds, part):.2f}" for part in (0.5, 0.95)]
        figures += [f"{each.mean():.3f}" for each in recalls]
        print(f"| {' | '.join(figures)} |", flush=True)
    ours.send("")


def _asked(
    lists: FarLists, lie: OneFile, query: Any, nearest: Any, gap: float, count: Any
) -> list[float]:
    """Lists, seconds, requests, ranges, bytes and recalls of a query."""
    lists._kept.clear()
    count()
    began = time.monotonic()
    vectors = VectorsElsewhere(lie, lists._kept, "image")
    search = far_side.FarSearch(lists, vectors, lambda ids: ids >= 0, None)
    right = search.nearest(query, 10, Effort(gap, afar.RANGES))[1][0]
    seconds = time.monotonic() - began
    asked = count()
    looked = lists.looked_into(query[0], gap)
    ids = lists.search(query, [looked], AMONG[-1], gap)[1][0]
    sets = [ids[:10], *(ids[:many] for many in AMONG), right]
    return [len(looked), seconds, *asked, *(np.isin(nearest, each).mean() for each in sets)]


if __name__ == "__main__":
    main()
