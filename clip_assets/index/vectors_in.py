"""The vectors that indices are made of: every embedded partition of the pool.

Reads embeddings; for training with them see ``index_recipe``, for encoding ``index_segments``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.encoders.identity import read_identity
from clip_assets.errors import ModelMismatchError, NotReadyError, SchemaError
from clip_assets.layout import Key, PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.storage import vectors
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embedded partitions, in the pool's order.

    Args:
        done: their manifests.
        vectors: of each side.
        models: digests of the model identities of all of them, sorted; one, if all is well.
    """

    done: list[Manifest]
    vectors: int
    models: list[str]


def embedded(pool: Pool, partitions: Sequence[PartitionKey] | None = None) -> Embedded:
    """The embedded ones among partitions, by default of the whole pool, by their manifests."""
    keys = pool.partitions if partitions is None else partitions
    pool.catalog.preload(layout.EMBEDDINGS, keys)
    done = [made for key in keys if (made := pool.catalog.get(layout.EMBEDDINGS, key))]
    models = sorted({manifest.inputs["model"] for manifest in done})
    return Embedded(done, sum(manifest.report.rows_out for manifest in done), models)


def path(side: str, partition: Key) -> str:
    """Embedding file of one side of a partition."""
    return layout.img_emb(partition) if side == "image" else layout.text_emb(partition)


def content_digest(segment: Manifest, embeddings: Manifest) -> str:
    """What says that a partition's vectors, as a segment encodes them, or its rows are others."""
    rows = embeddings.digest(layout.embedding_rows)
    return hashlib.sha256(f"{segment.digest(layout.segment)} {rows}".encode()).hexdigest()


def model_name(store: Store, embeddings: Manifest) -> str:
    """The model of a partition's embeddings in words."""
    digest = embeddings.inputs["model"]
    model = read_identity(store)
    if model is None or model.digest() != digest:
        return f"another model (digest {digest[:12]})"
    name = f"{model.name}/{model.pretrained}" if model.pretrained else model.name
    return f"{name} (digest {digest[:12]})"


def only_model(store: Store, vectors: Embedded) -> Manifest:
    """The manifest of a partition that stands for the model of all.

    Raises:
        NotReadyError: no partition is embedded yet.
        ModelMismatchError: they were embedded by different models.
    """
    if not vectors.done:
        raise NotReadyError(
            layout.EMBEDDINGS,
            "no embedded partition",
            "one at least",
            f"Run: clip-assets run --select '*{layout.EMBEDDINGS}'",
        )
    first = vectors.done[0]
    for other in vectors.done:
        if other.inputs["model"] != first.inputs["model"]:
            raise ModelMismatchError(
                other.name,
                f"vectors of {model_name(store, other)}",
                f"vectors of {model_name(store, first)}, as in {first.key}",
                "Embed every partition with one model, or use one root for each.",
            )
    return first


def dim(store: Store, embedded: Embedded) -> int:
    """Length of the vectors."""
    first = next((made for made in embedded.done if made.report.rows_out), None)
    if first is None:
        # The model was claimed with the first finished partition, samples or not.
        model = read_identity(store)
        return model.dim if model else 0
    with vectors.opened(store, path("image", first.key)) as array:
        return int(array.shape[1])


def rows_at(
    store: Store, embedded: Embedded, side: str, places: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Vectors at some places of the pool.

    Args:
        store: the pool's files.
        embedded: its embedded partitions.
        side: ``image`` or ``text``.
        places: rows counted through all partitions, ascending.

    Returns:
        (len(places), dim) float32.

    Raises:
        SchemaError: a file is not as long or as wide as it should be.
    """
    width = dim(store, embedded)
    rows_found = np.empty((len(places), width), np.float32)
    start = 0
    for manifest in embedded.done:
        rows = manifest.report.rows_out
        if not rows:
            continue
        first, last = np.searchsorted(places, (start, start + rows))
        name = path(side, manifest.key)
        with vectors.opened(store, name) as array:
            if array.shape != (rows, width):
                raise SchemaError(
                    store.uri(name),
                    f"vectors of shape {array.shape}",
                    f"({rows}, {width})",
                    f"Run: clip-assets run --select {layout.EMBEDDINGS}+ "
                    f"--partitions {manifest.key}",
                )
            rows_found[first:last] = array[places[first:last] - start]
        start += rows
    return rows_found
