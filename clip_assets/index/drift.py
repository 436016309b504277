"""How far a pool has moved from the vectors that its lists were trained on.

Vectors of new contents lie farther from the nearest centre than others, and crowd in few lists.
Both are told beside what was so when centres were trained. *Far* is farther than all but ``FAR``
of the vectors that training left out: those that it saw lie too near. What follows from a drift is
said by ``index.retraining``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.storage.control import parsed
from clip_assets.storage.store import Store

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Floats, Index

FAR = 0.05
"""Of the vectors that lists were not trained on, when they were trained."""

LEAST_VECTORS = 200
"""With fewer that were left out it is not known which distance is a far one."""


@layout.artifact(layout.INDEX_SEGMENTS)
def segment_far(partition: PartitionKey) -> str:
    """How many of the partition's vectors lie far from the centre of their list."""
    return f"segments/far/{partition}.json"


@dataclass(frozen=True, slots=True)
class Baseline:
    """One side of a pool when its lists were trained.

    Args:
        distance: 1 - similarity to the centre, which ``FAR`` of vectors exceed.
        imbalance: see ``imbalance``.
    """

    distance: float
    imbalance: float


@dataclass(frozen=True, slots=True)
class FarVectors:
    """The content of ``segment_far``.

    Args:
        far: vectors of each side that are far from the centre of their list.
    """

    far: dict[str, int]


@dataclass(frozen=True, slots=True)
class Drift:
    """One side of an index version.

    Args:
        far: share of its vectors that are far from the centre of their list.
        far_of_new: the same of vectors that the version before had not; 0 where there are none.
        imbalance: see ``imbalance``.
        imbalance_trained: what it was when the lists were trained.
    """

    far: float
    far_of_new: float
    imbalance: float
    imbalance_trained: float


def imbalance(sizes: npt.NDArray[np.int64]) -> float:
    """How many times longer the average vector's list is than the average list; 1 at least."""
    total = float(sizes.sum())
    return len(sizes) * float((sizes.astype(np.float64) ** 2).sum()) / max(1.0, total) ** 2


def baseline(index: "Index", trained_on: "Floats", left_out: "Floats") -> Baseline | None:
    """What distances and lists are when they are trained; None where too few were left out.

    Args:
        index: trained, with lists.
        trained_on: (m, dim).
        left_out: (q, dim).
    """
    from clip_assets.index.engine import ann

    lists = ann.inverted(index)
    if lists is None or len(left_out) < LEAST_VECTORS:
        return None
    distances = 1 - ann.placed(index, left_out).similarities
    owners = ann.placed(index, trained_on).lists
    sizes = np.bincount(owners, minlength=lists.nlist)
    far = max(0.0, float(np.quantile(distances, 1 - FAR)))
    return Baseline(round(far, 5), round(imbalance(sizes), 4))


def far(known: Baseline, similarities: "Floats") -> int:
    """How many of some vectors are far, by their similarity to the centres of their lists."""
    return int(is_far(known, similarities).sum())


def is_far(known: Baseline, similarities: "Floats") -> npt.NDArray[np.bool_]:
    """Which of some vectors are far."""
    return 1 - similarities > known.distance


def write(part: Path, told: Mapping[str, int]) -> None:
    """Write how many vectors of each side are far to an unpublished file."""
    part.write_text(json.dumps(asdict(FarVectors(dict(told)))))


def read(store: Store, partition: PartitionKey) -> dict[str, int]:
    """How many vectors of each side of a partition are far.

    Raises:
        MissingArtifactError: its segment has no such file.
        SchemaError: it is damaged.
    """
    path = segment_far(partition)
    advice = f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+"
    return parsed(store.read_bytes(path), FarVectors, store.uri(path), advice).far
