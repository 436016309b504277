"""The trained, empty index as the pool's files have it.

Made by ``index.index_recipe``; what it holds is read from here.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.index.drift import Baseline
from clip_assets.storage import vectors as stored_vectors
from clip_assets.storage.control import parsed
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.store import Store


@dataclass(frozen=True, slots=True)
class Recipe:
    """The content of ``layout.recipe_choice``.

    Args:
        key: of faiss' index factory, for both sides.
        why: this kind was chosen.
        dim: of the vectors.
        bytes_per_vector: in a merged index, id included.
        vectors: of the pool when it was trained.
        fits_up_to: vectors of the pool for which there is room.
        sampled: vectors of each side that it was trained on.
        model: digest of the model identity of those vectors.
        model_name: the model in words.
        baselines: by side, how vectors lay in the lists; empty where there are none, or too few
            vectors to tell.
    """

    key: str
    why: str
    dim: int
    bytes_per_vector: int
    vectors: int
    fits_up_to: int
    sampled: int
    model: str
    model_name: str
    baselines: dict[str, Baseline] = field(default_factory=dict[str, Baseline])


def read(store: Store) -> Recipe:
    """The pool's recipe.

    Raises:
        MissingArtifactError: there is none yet.
        SchemaError: its file is damaged; ``DamagedError``: it is gone.
    """
    path = layout.recipe_choice()
    return parsed(store.read_bytes(path), Recipe, store.uri(path), f"Run: {REPAIR}")


def queries(store: Store, kind: str) -> npt.NDArray[np.float32]:
    """The queries of one kind, (q, dim), by which recall is measured."""
    with stored_vectors.opened(store, layout.recipe_queries(kind)) as array:
        return array.astype(np.float32)
