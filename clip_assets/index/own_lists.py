"""Lists that a partition brings with it, for vectors that lie far from all centres of the recipe.

A partition of new contents would crowd into few old lists, far from their centres. It trains some
centres on its own far vectors instead, and each of its vectors lies in the nearest of the recipe's
lists and these. So nothing that was encoded before is touched: a version has the recipe's lists,
then those of one partition after the other. What is far is said by ``index.drift``; how an index
gets more lists by ``engine.more_lists``; how far it goes so by ``index.retraining``.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.index.engine.kinds import POINTS_PER_LIST
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool

if TYPE_CHECKING:
    from clip_assets.index.effort.neighbours import Truth
    from clip_assets.index.engine.lists import Lists

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

FROM = 0.1
"""Of a partition's vectors that are far, more than this; fewer do not hurt enough."""

FINER = 2
"""Times shorter than the recipe's lists: partitions of like contents bring some each."""


@layout.artifact(layout.INDEX_SEGMENTS)
def segment_centres(side: str, partition: PartitionKey) -> str:
    """Centres of the lists that one side of a partition brings, (m, d) float32; often none."""
    return f"segments/centres/{side}/{partition}.npy"


def wanted(far: int, vectors: int, lists: int, trained_for: int) -> int:
    """How many lists a partition brings.

    Args:
        far: of its vectors.
        vectors: that it has.
        lists: of the recipe.
        trained_for: vectors of the pool when the recipe was trained.
    """
    return FINER * far * lists // max(1, trained_for) if far > FROM * vectors else 0


def sample(far: Numbers, count: int) -> Numbers:
    """Which of the far vectors so many centres are trained on: evenly taken, ascending."""
    most = POINTS_PER_LIST * count
    return far if len(far) <= most else far[np.linspace(0, len(far) - 1, most).astype(np.int64)]


def read(pool: Pool, side: str, partition: PartitionKey) -> Floats | None:
    """Centres that a partition brings; None where it brings none.

    Raises:
        DamagedError: their file is gone or damaged.
        SchemaError: it holds something else.
    """
    path = segment_centres(side, partition)
    made = pool.catalog.require(layout.INDEX_SEGMENTS, partition)
    if all(output.path != path for output in made.outputs):
        return None
    with pool.catalog.sound(layout.INDEX_SEGMENTS, partition, path) as file:
        stored = np.load(file, allow_pickle=False)
    if stored.dtype != np.float32 or stored.ndim != 2 or not len(stored):
        raise SchemaError(
            pool.store.uri(path),
            f"{stored.dtype} of shape {stored.shape}",
            "centres of lists, (m, d) float32",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    return stored


class Numbering:
    """Numbers of lists in an index of many partitions: the recipe's, then each one's own in turn.

    Args:
        lists: of the recipe.
        own: of each partition the centres that it brings, or None, in the order of the index.
    """

    def __init__(self, lists: int, own: Sequence[Floats | None]) -> None:
        self._lists, self._own = lists, own
        counts = [0 if centres is None else len(centres) for centres in own]
        self._firsts = lists + np.cumsum([0, *counts])

    @property
    def total(self) -> int:
        """Lists of the index."""
        return int(self._firsts[-1])

    def centres(self, partitions: int | None = None) -> Floats | None:
        """Of all lists but the recipe's, or of the first so many partitions; None if none."""
        some = [centres for centres in self._own[:partitions] if centres is not None]
        return np.concatenate(some) if some else None

    def of(self, place: int) -> Numbers:
        """(n,) the number that each list of a partition has in the index."""
        first, end = int(self._firsts[place]), int(self._firsts[place + 1])
        return np.concatenate([np.arange(self._lists), np.arange(first, end)])

    def truths(self, known: Iterable["Truth"], first: int = 0) -> Iterator["Truth"]:
        """What partitions, from one on, have for queries, by the index's numbers of lists."""
        for place, truth in enumerate(known, first):
            numbers = self.of(place)
            for held in truth:
                held["list"] = numbers[held["list"]]
            yield truth

    def lists(self, place: int, known: "Lists") -> "Lists":
        """A partition's lists as the index numbers them."""
        return known.numbered(self.of(place), self.total)
