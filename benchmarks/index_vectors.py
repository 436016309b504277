"""What ``benchmarks/index.py`` builds indices of and asks them, kept in a folder between runs.

Vectors are made up, piece by piece (``made_up_vectors``: captions lie off the images), or those of
the demo's own model (``demo_vectors``), and kept as float16. Of them there are captions of the
pool, to calibrate and to choose by, and pairs from the same source that are in no index; the
centres of the lists, trained once for every index of the benchmark; and what an exact search finds.
Beside the file of the vectors, which is mapped, a piece of them is in memory, and what is drawn to
train on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.made_up_vectors import Source
from clip_assets.index.effort import neighbours
from clip_assets.index.effort.neighbours import Neighbours, Truth
from clip_assets.index.engine import ann, kinds
from clip_assets.index.engine.centres import centres
from clip_assets.index.engine.half_products import products
from clip_assets.index.engine.halves import whole

if TYPE_CHECKING:
    from benchmarks.demo_vectors import DemoSource

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

Chosen = dict[str, Any]

CALIBRATED_ON = 4_000
SOME = 500
"""Captions by which the others choose how far they look."""
PIECE = 50_000
POINTS_PER_LIST = 48
"""Vectors that lists are trained on."""


class Whole:
    """The whole vectors, compared as ``index.exact`` does it.

    Args:
        vectors: (n, dim), kept as float16.
    """

    def __init__(self, vectors: npt.NDArray[np.floating]) -> None:
        self._vectors = vectors.astype(np.float16, copy=False)

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """(q, k); NaN where an id is -1."""
        similar = np.empty(ids.shape, np.float32)
        for own, query, found in zip(ids, queries, similar, strict=True):
            found[:] = products(np.take(self._vectors, own, axis=0, mode="clip"), query)
        similar[ids < 0] = np.nan
        return similar


@dataclass
class Made:
    """Vectors, queries and lists.

    Args:
        folder: where they are kept.
        total: vectors.
        dim: of each.
        queries: that no calibration has seen.
        most_lists: at most so many.
        per_cluster: vectors of the made-up source in each cluster; 0: the demo's model.
    """

    folder: Path
    total: int
    dim: int
    queries: int
    most_lists: int
    per_cluster: int

    def __post_init__(self) -> None:
        random = np.random.default_rng(3)
        some = min(CALIBRATED_ON, self.total // 4)
        self.asked = np.sort(random.choice(self.total, some, replace=False))
        rest = self.total - len(self.asked)
        self.lists = min(self.most_lists, kinds.lists_for(self.total, rest))
        self._kept("pairs.npz", self._draw)

    @property
    def images(self) -> npt.NDArray[np.float16]:
        """(total, dim), mapped."""
        mapped = np.load(self.folder / "images.npy", mmap_mode="r")
        return np.asarray(mapped)

    def texts(self, kind: str = "text") -> Floats:
        """(asked, dim) captions of the pool that are calibrated by, or their images."""
        return self._pairs[f"asked_{kind}"].astype(np.float32)

    def unseen(self, kind: str = "text") -> Floats:
        """(queries, dim) captions of no vector of the pool, or such images."""
        return self._pairs[f"unseen_{kind}"].astype(np.float32)

    @cached_property
    def trained_on(self) -> Floats:
        """(m, dim), none of which is asked for."""
        rest = np.setdiff1d(np.arange(self.total), self.asked)
        step = max(1, len(rest) // (POINTS_PER_LIST * self.lists))
        return self.images[rest[::step]].astype(np.float32)

    @cached_property
    def centres(self) -> Floats:
        """(lists, dim), for every index whose vectors are whole or turned."""

        def train() -> Arrays:
            return {"centres": centres(self.trained_on, self.lists, ann.SEED)}

        return self._kept(f"centres_{self.lists}.npz", train)["centres"].astype(np.float32)

    @property
    def owners(self) -> Ids:
        """(total,) which of the common centres is nearest to each vector."""

        def compare() -> Arrays:
            flat = faiss.IndexFlatIP(self.dim)
            flat.add(self.centres)
            starts = range(0, self.total, PIECE)
            pieces = (self.images[start : start + PIECE].astype(np.float32) for start in starts)
            return {"owners": np.concatenate([flat.search(rows, 1)[1][:, 0] for rows in pieces])}

        return self._kept(f"owners_{self.lists}.npz", compare)["owners"]

    def asked_truth(self, kind: str = "text") -> Truth:
        """Of what is calibrated by: a neighbour's list is its own id here."""
        return self._truth(f"asked_{kind}_truth.npz", self.texts(kind))

    def index(self, name: str, build: Callable[[], Any]) -> Any:
        """An index of faiss, which is built once."""
        file = self._file(name, "index")

        def write() -> Chosen:
            part = file.with_suffix(".part")
            faiss.write_index(build(), str(part))
            part.rename(file)
            return {}

        if not file.exists():
            self._file(name, "json").unlink(missing_ok=True)
            self.chosen(name, write)
        return faiss.read_index(str(file))

    def index_bytes(self, name: str) -> int:
        """Of the file of an index, which are those of its memory."""
        return self._file(name, "index").stat().st_size

    def chosen(self, name: str, choose: Callable[[], Chosen]) -> Chosen:
        """How far an index is searched, which is chosen once."""
        file = self._file(name, "json")
        if not file.exists():
            began, chosen = time.process_time(), choose()
            told = {"chosen": chosen, "cpu_s": round(time.process_time() - began, 1)}
            file.write_text(json.dumps(told))
        return json.loads(file.read_text())["chosen"]

    def cpu_s(self, name: str) -> float:
        """Seconds of CPU, of all threads, in which an index was built or a reach was chosen."""
        return json.loads(self._file(name, "json").read_text())["cpu_s"]

    def least_of_some(self, k: int) -> tuple[Floats, Floats]:
        """Some captions of the pool, and how similar the k-th nearest image of each is."""
        ones = range(len(self.asked))[neighbours.deep_ones(len(self.asked))]
        step = max(1, len(ones) // SOME)
        deep = self.asked_truth().deep["similarity"][::step, k - 1]
        return self.texts()[np.array(ones)[::step]], deep

    def least(self, k: int) -> Floats:
        """(queries,) similarity of the k-th nearest image of each caption never seen."""
        return self.unseen_truth()["similarity"][:, k - 1]

    def unseen_truth(self, kind: str = "text") -> Neighbours:
        """Many neighbours of each caption, or image, never seen; their ids as lists."""
        most, queries = neighbours.DEEP_QUERIES, self.unseen(kind)
        parts = [
            self._truth(f"unseen_{kind}_truth_{start}.npz", queries[start : start + most]).deep
            for start in range(0, len(queries), most)
        ]
        return np.concatenate(parts)

    @cached_property
    def _pairs(self) -> Arrays:
        return self._kept("pairs.npz", self._draw)

    def _draw(self) -> Arrays:
        """Write the images, return the queries."""
        source = self._source()
        shape = (self.total, self.dim)
        images = np.lib.format.open_memmap(self.folder / "images.npy", "w+", np.float16, shape)
        texts: list[Floats] = []
        for start in range(0, self.total, PIECE):
            rows = min(PIECE, self.total - start)
            # The second draw is of the queries.
            drawn, captions = source.pairs(rows, seed=1 if not start else 2 + start // PIECE)
            images[start : start + rows] = drawn
            own = self.asked[(self.asked >= start) & (self.asked < start + rows)]
            texts.append(captions[own - start])
        images.flush()
        unseen = source.pairs(self.queries, seed=2)
        pairs = {"asked_text": np.concatenate(texts), "asked_image": images[self.asked]}
        return pairs | {"unseen_image": unseen[0], "unseen_text": unseen[1]}

    def _source(self) -> "Source | DemoSource":
        if self.per_cluster:
            return Source(self.dim, max(1, self.total // self.per_cluster))
        from benchmarks.demo_vectors import DIM, DemoSource  # loads the model's libraries

        if self.dim != DIM:
            raise SystemExit(f"--dim {DIM}: of the demo's model")
        return DemoSource()

    def _truth(self, name: str, queries: Floats) -> Truth:
        def search() -> Arrays:
            truth, images = neighbours.nothing(len(queries)), self.images
            for start in range(0, self.total, PIECE):
                rows = whole(images[start : start + PIECE])
                ids = np.arange(start, start + len(rows))
                truth = neighbours.of(queries, rows, ids, truth)
            return truth._asdict()

        kept = self._kept(name, search)
        return Truth(kept["near"], kept["deep"])

    def _file(self, name: str, kind: str) -> Path:
        return self.folder / f"{name.replace(',', '_')}.{kind}"

    def _kept(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """What a file has; it is made, if it is not there."""
        file = self.folder / name
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part.npz")
            np.savez(part, **make())
            part.rename(file)
        with np.load(file) as kept:
            return dict(kept)
