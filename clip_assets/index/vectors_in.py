"""The vectors that indices are made of: every embedded partition of the pool.

Reads embeddings; for training with them see ``index_recipe``, for encoding ``index_segments``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import ModelMismatchError, NotReadyError, SchemaError
from clip_assets.layout import PartitionKey
from clip_assets.storage import vectors
from clip_assets.storage.manifests import Catalog, Manifest
from clip_assets.storage.store import Store

EMBEDDINGS = "embeddings"
"""The asset that writes the vectors."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Embedded partitions, in the pool's order.

    Args:
        done: their manifests.
        vectors: of each side.
        models: digests of the model identities of all of them, sorted; one, if all is well.
    """

    done: list[Manifest]
    vectors: int
    models: list[str]


def look(catalog: Catalog, partitions: Sequence[PartitionKey]) -> Pool:
    """The embedded ones among partitions, by their manifests."""
    catalog.preload(EMBEDDINGS, partitions)
    done = [found for key in partitions if (found := catalog.get(EMBEDDINGS, key))]
    models = sorted({manifest.inputs["model"] for manifest in done})
    return Pool(done, sum(manifest.report.rows_out for manifest in done), models)


def path(side: str, partition: PartitionKey) -> str:
    """Embedding file of one side of a partition."""
    return layout.img_emb(partition) if side == "image" else layout.text_emb(partition)


def model_name(embeddings: Manifest) -> str:
    """The model of a partition's embeddings in words."""
    model: dict[str, Any] = embeddings.report.figures["model"]
    name = f"{model['name']}/{model['pretrained']}" if model.get("pretrained") else model["name"]
    return f"{name} (digest {embeddings.inputs['model'][:12]})"


def only_model(pool: Pool) -> Manifest:
    """The manifest of a partition that stands for the model of all.

    Raises:
        NotReadyError: no partition is embedded yet.
        ModelMismatchError: they were embedded by different models.
    """
    if not pool.done:
        raise NotReadyError(
            EMBEDDINGS,
            "no embedded partition",
            "one at least",
            "Run: clip-assets run --select '*embeddings'",
        )
    first = pool.done[0]
    for other in pool.done:
        if other.inputs["model"] != first.inputs["model"]:
            raise ModelMismatchError(
                f"{EMBEDDINGS} {other.partition}",
                f"vectors of {model_name(other)}",
                f"vectors of {model_name(first)}, as in {first.partition}",
                "Embed every partition with one model, or use one root for each.",
            )
    return first


def dim(store: Store, pool: Pool) -> int:
    """Length of the first partition's vectors."""
    first = path("image", key(pool.done[0]))
    with vectors.opened(store, first, EMBEDDINGS) as array:
        return int(array.shape[1])


def rows_at(
    store: Store, pool: Pool, side: str, places: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Vectors at some places of the pool.

    Args:
        store: the pool's files.
        pool: its embedded partitions.
        side: ``image`` or ``text``.
        places: rows counted through all partitions, ascending.

    Returns:
        (len(places), dim) float32.

    Raises:
        SchemaError: a file is not as long or as wide as it should be.
    """
    width = dim(store, pool)
    found = np.empty((len(places), width), np.float32)
    start = 0
    for manifest in pool.done:
        rows = manifest.report.rows_out
        first, last = np.searchsorted(places, (start, start + rows))
        name = path(side, key(manifest))
        with vectors.opened(store, name, EMBEDDINGS) as array:
            if array.shape != (rows, width):
                raise SchemaError(
                    store.uri(name),
                    f"vectors of shape {array.shape}",
                    f"({rows}, {width})",
                    f"Run: clip-assets run --select embeddings+ --partitions {manifest.partition}",
                )
            found[first:last] = array[places[first:last] - start]
        start += rows
    return found


def key(embeddings: Manifest) -> PartitionKey:
    """The partition of a manifest."""
    assert embeddings.partition is not None
    return embeddings.partition
