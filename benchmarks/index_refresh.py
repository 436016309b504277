"""What refreshes with vectors of another kind cost an index, with and without mending its lists.

A pool of made-up vectors is cut into lists. Each refresh adds vectors of contents that it had
not (``made_up_vectors``, other ``topics``); centres stay as they were trained. Lists are then
compared at equal work: at the share of vectors that freshly trained lists look at to find 0.95 of
the ten nearest images of captions never seen, how much do the others find? The captions are of all
the pool's contents, in proportion. Lists by four rules:

* kept: centres are never touched;
* mended: after each refresh lists of more than twice the mean are split in two, those of less than
  a quarter are dissolved, and their vectors go to the nearest of all centres;
* own: as the pool does it (``index.own_lists``): a refresh of which many vectors are far brings
  centres of its own, trained on those; no other vector is touched, and no two refreshes know of
  each other;
* anew: centres are trained again, several times, because trainings of the same vectors differ by
  some tenths of a point: what is told of them is the mean, and the least and the most. Of a
  refresh the equal work is the mean of what these need.

Codes play no part: a neighbour is found if its list is looked into. Then a refresh of +1 % is
timed as a pool makes it (encode, compare with the queries, join the files, calibrate) beside the
same of the whole pool, in CPU seconds of one thread.

    python benchmarks/index_refresh.py [--vectors 200000] [--dim 128] [--refreshes 20]
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.index_vectors import Whole
from benchmarks.made_up_vectors import VECTORS_PER_CLUSTER, Source
from clip_assets.index import own_lists
from clip_assets.index.effort import calibration, neighbours, recall
from clip_assets.index.engine import ann, kinds, lists, more_lists

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

TARGET = 0.95
FAR = 0.05
CALIBRATED_ON = 4_000
LARGE, SMALL = 2.0, 0.25
TRAININGS = 3
TOLD_EVERY = 5


def nearest_lists(centres: Floats, vectors: Floats) -> tuple[Floats, Ids]:
    """Similarity to the nearest centre, and its number."""
    flat = faiss.IndexFlatIP(centres.shape[1])
    flat.add(centres)
    similar, numbers = flat.search(vectors, 1)
    return similar[:, 0], numbers[:, 0]


def truth(queries: Floats, images: Floats) -> Ids:
    """The ten nearest images of each query, (q, 10)."""
    flat = faiss.IndexFlatIP(images.shape[1])
    flat.add(images)
    return flat.search(queries, 10)[1]


class Cut:
    """Vectors in lists.

    Args:
        centres: (lists, dim).
        owners: (n,) the list of each vector.
    """

    def __init__(self, centres: Floats, owners: Ids) -> None:
        self.centres, self.owners = centres, owners

    @property
    def sizes(self) -> Ids:
        """Vectors in each list."""
        return np.bincount(self.owners, minlength=len(self.centres))

    @property
    def imbalance(self) -> float:
        """1 if all lists are as long, else by how much the average vector's list is longer."""
        sizes = self.sizes.astype(np.float64)
        return float(len(sizes) * (sizes**2).sum() / sizes.sum() ** 2)

    def gaps(self, queries: Floats, true: Ids) -> tuple[Floats, Floats]:
        """Behind the best list: every list's, (q, lists), and those of true neighbours, (q, 10)."""
        scores = queries @ self.centres.T
        behind = scores.max(axis=1, keepdims=True) - scores
        return behind, np.take_along_axis(behind, self.owners[true], axis=1)

    def scanned(self, behind: Floats, gap: float) -> float:
        """Share of all vectors in lists within a gap."""
        return float(((behind <= gap) @ self.sizes).mean() / len(self.owners))

    def at(self, behind: Floats, share: float) -> float:
        """The gap that looks at such a share of the vectors."""
        low, high = 0.0, 2.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.scanned(behind, middle) < share else (low, middle)
        return low


def mended(cut: Cut, images: Floats) -> tuple[Cut, float]:
    """Lists split and dissolved, and the share of vectors that were compared with all centres."""
    sizes, mean = cut.sizes, len(cut.owners) / len(cut.centres)
    large, small = np.flatnonzero(sizes > LARGE * mean), np.flatnonzero(sizes < SMALL * mean)
    more: list[Floats] = []
    for number in large.tolist():
        own = images[cut.owners == number]
        parts = faiss.Kmeans(images.shape[1], 2, niter=6, spherical=True, seed=1, verbose=False)
        parts.train(own)
        more.append(parts.centroids)
    kept = np.setdiff1d(np.arange(len(cut.centres)), np.concatenate([large, small]))
    centres = np.concatenate([cut.centres[kept], *more])
    place = np.full(len(cut.centres), -1, np.int64)
    place[kept] = np.arange(len(kept))
    owners = place[cut.owners]
    # Those of the nearest eight lists of each new centre may be nearer to it.
    flat = faiss.IndexFlatIP(images.shape[1])
    flat.add(centres)
    around = np.unique(flat.search(np.concatenate(more), 9)[1]) if more else np.empty(0, np.int64)
    again = (owners < 0) | np.isin(owners, around)
    owners[again] = nearest_lists(centres, images[again])[1]
    return Cut(centres, owners), float(again.mean())


class Own:
    """Lists that refreshes bring with them.

    Args:
        empty: the recipe, trained.
        first: the lists of the beginning.
        threshold: similarity below which a vector is far.
    """

    def __init__(self, empty: ann.Index, first: Cut, threshold: float) -> None:
        self._empty, self._first, self._threshold = empty, first, threshold
        self._own: list[Floats | None] = [None]
        self._owners = [first.owners]

    def add(self, more: Floats) -> None:
        """A partition."""
        placed = ann.placed(self._empty, more)
        far = np.flatnonzero(placed.similarities < self._threshold)
        lists = len(self._first.centres)
        count = own_lists.wanted(len(far), len(more), lists, len(self._first.owners))
        centres = None
        if count:
            some = more[own_lists.sample(far, count)]
            centres = more_lists.trained(self._empty, some, count)
            placed = more_lists.nearer(self._empty, more, placed, centres)
        self._own.append(centres)
        self._owners.append(placed.lists)

    def cut(self) -> Cut:
        """All of them."""
        numbering = own_lists.Numbering(len(self._first.centres), self._own)
        owners = [numbering.of(place)[own] for place, own in enumerate(self._owners)]
        centres = numbering.centres()
        more = (
            np.empty((0, self._first.centres.shape[1]), np.float32) if centres is None else centres
        )
        return Cut(np.concatenate([self._first.centres, more]), np.concatenate(owners))


def centres_of(empty: ann.Index) -> Floats:
    """Centres of the lists of a recipe."""
    held = ann.inverted(empty)
    assert held is not None
    return held.quantizer.reconstruct_n(0, held.nlist)


def anew(images: Floats, count: int, seed: int) -> Cut:
    """Lists that are trained on all vectors, in the order of a seed."""
    order = np.random.default_rng(seed).permutation(len(images))
    empty = ann.trained(f"IVF{count},Flat", images.shape[1], images[order])
    centres = centres_of(empty)
    return Cut(centres, nearest_lists(centres, images)[1])


class Exam:
    """Queries, and what is true of them."""

    def __init__(self, asked: Floats, images: Floats, old: int) -> None:
        self._asked, self._old = asked, old
        self._true = truth(asked, images)

    def needs(self, cut: Cut) -> float:
        """Share of the vectors that are looked at for ``TARGET``."""
        behind, gaps = cut.gaps(self._asked, self._true)
        return cut.scanned(behind, float(np.quantile(gaps, TARGET)))

    def told(self, cut: Cut, work: float) -> dict[str, float]:
        """What a cut finds at some work."""
        behind, gaps = cut.gaps(self._asked, self._true)
        found = (gaps <= cut.at(behind, work)).mean(axis=1)
        old, new = found[: self._old], found[self._old :]
        return {
            "recall": round(float(found.mean()), 4),
            "recall_of_old": round(float(old.mean()), 4),
            "recall_of_new": round(float(new.mean()), 4) if len(new) else 0.0,
            "needs": round(self.needs(cut) / work, 3),
            "imbalance": round(cut.imbalance, 3),
            "lists": len(cut.centres),
        }


def drift(options: argparse.Namespace) -> None:
    """Refresh again and again, and tell what is found at equal work."""
    total, dim, new = options.vectors, options.dim, int(options.share * options.vectors)
    source = Source(dim, max(1, total // VECTORS_PER_CLUSTER))
    images, _ = source.pairs(total, seed=1)
    strangers, asked = source.pairs(options.queries, seed=2)
    count = kinds.lists_for(total, total)
    empty = ann.trained(f"IVF{count},Flat", dim, images)
    centres = centres_of(empty)
    threshold = float(np.quantile(nearest_lists(centres, strangers)[0], FAR))
    kept = mend = Cut(centres, nearest_lists(centres, images)[1])
    own = Own(empty, kept, threshold)
    far, compared = float((nearest_lists(centres, images)[0] < threshold).sum()), 0.0
    for refresh in range(options.refreshes + 1):
        if refresh:
            topics = 1 + (refresh - 1) // options.refreshes_of_a_kind
            other = Source(dim, max(1, 2 * new // VECTORS_PER_CLUSTER), topics=topics)
            more, texts = other.pairs(new, seed=10 + refresh)
            images = np.concatenate([images, more])
            asked = np.concatenate([asked, texts[: int(options.share * options.queries)]])
            similar, owners = nearest_lists(centres, more)
            far += float((similar < threshold).sum())
            kept = Cut(centres, np.concatenate([kept.owners, owners]))
            grown = np.concatenate([mend.owners, nearest_lists(mend.centres, more)[1]])
            mend, share = mended(Cut(mend.centres, grown), images)
            compared += share
            own.add(more)
        if refresh % TOLD_EVERY:
            continue
        exam = Exam(asked, images, options.queries)
        fresh = [anew(images, count, seed) for seed in range(TRAININGS)]
        work = float(np.mean([exam.needs(cut) for cut in fresh]))
        found = [exam.told(cut, work)["recall"] for cut in fresh]
        told: dict[str, Any] = {
            "refresh": refresh, "vectors": len(images), "lists": count, "scanned": round(work, 5),
            "far": round(far / len(images), 4),
            "anew": {"mean": round(float(np.mean(found)), 4), "all": found},
            "compared_again": round(compared, 3),
        }  # fmt: skip
        cuts = {"kept": kept, "mended": mend, "own": own.cut()}
        told |= {name: exam.told(cut, work) for name, cut in cuts.items()}
        print(json.dumps(told), flush=True)


def segment(empty: Any, images: Floats, queries: Floats, file: Path) -> neighbours.Truth:
    """Encode a partition, and compare it with the queries."""
    index = faiss.clone_index(empty)
    owners = ann.add(index, images).lists
    ann.write(index, file)
    return neighbours.of(queries, images, owners)


def joined(empty: Any, sizes: list[int], folder: Path) -> ann.Index:
    """The files of partitions as one."""
    parts: list[tuple[lists.Lists, int]] = []
    start = 0
    for number, size in enumerate(sizes):
        head = ann.head(empty, size)
        parts.append((lists.read(folder / str(number), head, str(number)), start))
        start += size
    lists.join(folder / "whole", ann.head(empty, start), parts)
    return ann.read(folder / "whole", "whole", mapped=True)


def timed(options: argparse.Namespace) -> None:
    """A refresh of +1 % as a share of making all, with one kind of query."""
    total, dim = options.vectors, options.dim
    new = max(1, total // 100)
    source = Source(dim, max(1, total // VECTORS_PER_CLUSTER))
    images, texts = source.pairs(total + new, seed=1)
    count = kinds.lists_for(total, total)
    asked = np.arange(0, total, max(1, total // CALIBRATED_ON))
    queries, own = texts[asked], images[asked]
    with TemporaryDirectory() as name:
        folder = Path(name)
        began = time.process_time()
        empty = ann.trained(f"RR{dim},IVF{count},RaBitQ4", dim, np.delete(images, asked, axis=0))
        trained_s = time.process_time() - began
        first = segment(empty, images[:total], queries, folder / "0")
        encoded_s = time.process_time() - began - trained_s
        known = [first]
        told: dict[str, Any] = {"vectors": total, "dim": dim, "lists": count}
        for step in ("all", "refresh"):
            if step == "refresh":
                began = time.process_time()
                known.append(segment(empty, images[total:], queries, folder / "1"))
            index = joined(empty, [total, new][: len(known)], folder)
            question = recall.Question(
                empty, queries, neighbours.joined(known, len(asked)).near, own
            )
            whole: Any = Whole(images)
            meter = calibration.Meter(index, sizes_of(index), whole)
            reaches = {reach.target: reach for reach in meter.reach([question])}
            told[f"{step}_cpu_s"] = round(time.process_time() - began, 2)
            told[f"{step}_recall"] = reaches[TARGET].recall
            told[f"{step}_scanned"] = reaches[TARGET].scanned
    told |= {"trained_cpu_s": round(trained_s, 2), "encoded_cpu_s": round(encoded_s, 2)}
    told["share"] = round(told["refresh_cpu_s"] / told["all_cpu_s"], 4)
    print(json.dumps(told), flush=True)


def sizes_of(index: ann.Index) -> Ids:
    """Vectors in each list."""
    held = ann.inverted(index)
    assert held is not None
    return np.array([held.get_list_size(number) for number in range(held.nlist)], np.int64)


def main() -> None:
    """Run both, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--refreshes", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.01, help="Of the pool, in each refresh.")
    parser.add_argument("--refreshes-of-a-kind", type=int, default=5)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--only", choices=["drift", "timed"])
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    print(json.dumps({"compiled": faiss.get_compile_options()}), flush=True)
    if options.only != "timed":
        drift(options)
    if options.only != "drift":
        timed(options)


if __name__ == "__main__":
    main()
