"""The vectors of one partition, encoded as the recipe says.

Segments are what a new partition costs: merging them is ``index.faiss_index``.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import AlignmentError, CheckFailedError, ModelMismatchError, SchemaError
from clip_assets.index import index_recipe, vectors_in
from clip_assets.index.index_recipe import INDEX_RECIPE, Recipe
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Catalog, Manifest, Report

INDEX_SEGMENTS = Stage("index_segments", "1", rows_from=vectors_in.EMBEDDINGS)

CHUNK_ROWS = 65_536


def index_segments(catalog: Catalog, partition: PartitionKey) -> Outcome:
    """Encode the image and text vectors of a partition; row i gets id i.

    Memory: the encoded vectors of one side of the partition, and ``CHUNK_ROWS`` vectors.

    Raises:
        MissingArtifactError: the partition is not embedded, or there is no recipe.
        ModelMismatchError: it was embedded by another model than the recipe is for.
        AlignmentError: images, texts and rows of the partition differ in number.
        CheckFailedError: a vector is not finite.
    """
    inputs = index_segments_inputs(catalog, partition)

    def work(run: StageRun) -> Report:
        embeddings = catalog.require(vectors_in.EMBEDDINGS, partition)
        catalog.require(INDEX_RECIPE.asset)
        wanted = index_recipe.read(run.store)
        _check_model(embeddings, wanted)
        return _encode(run, wanted)

    return materialize(catalog, INDEX_SEGMENTS, partition, inputs, work)


def index_segments_inputs(catalog: Catalog, partition: PartitionKey) -> dict[str, str]:
    """What a partition's segments depend on."""
    return {
        "embeddings": catalog.digest(vectors_in.EMBEDDINGS, partition, ".npy"),
        "index_recipe": catalog.digest(INDEX_RECIPE.asset, None, ".index"),
    }


def _check_model(embeddings: Manifest, wanted: Recipe) -> None:
    if embeddings.inputs["model"] != wanted.model:
        raise ModelMismatchError(
            f"embeddings {embeddings.partition}",
            f"vectors of {vectors_in.model_name(embeddings)}",
            f"vectors of {wanted.model_name}, which the index recipe is for",
            "Embed every partition with one model, then: clip-assets run --select index_recipe+",
        )


def _encode(run: StageRun, wanted: Recipe) -> Report:
    from clip_assets.index import ann

    rows = tables.count(run.store, layout.embedding_rows(run.partition), vectors_in.EMBEDDINGS)
    for side in layout.SIDES:
        name = vectors_in.path(side, run.partition)
        with run.store.local(layout.recipe(side), INDEX_RECIPE.asset) as file:
            empty = ann.read(file, run.store.uri(layout.recipe(side)))
        with vectors.opened(run.store, name, vectors_in.EMBEDDINGS) as array:
            _check_shape(run.store.uri(name), array.shape, rows, wanted)
            segment = ann.encode(empty, _chunks(array, run.store.uri(name)))
        with run.publish(layout.segment(side, run.partition)) as part:
            ann.write(segment, part)
    figures = {"key": wanted.key, "dim": wanted.dim, "bytes_per_vector": wanted.bytes_per_vector}
    return Report(rows, rows, figures=figures)


def _check_shape(where: str, shape: tuple[int, ...], rows: int, wanted: Recipe) -> None:
    advice = "Run: clip-assets run --select embeddings+"
    if shape[1] != wanted.dim:
        raise SchemaError(where, f"dim {shape[1]}", f"dim {wanted.dim}, as in the recipe", advice)
    if shape[0] != rows:
        raise AlignmentError(where, f"{shape[0]:,} vectors", f"{rows:,}, one for a row", advice)


def _chunks(array: npt.NDArray[np.float16], where: str) -> Iterator[npt.NDArray[np.float16]]:
    for start in range(0, len(array), CHUNK_ROWS):
        chunk = array[start : start + CHUNK_ROWS]
        finite = np.isfinite(chunk).all(axis=1)
        if not finite.all():
            raise CheckFailedError(
                where,
                f"a vector that is not finite in row {start + int(np.argmin(finite)):,}",
                "finite vectors",
                "Run: clip-assets run --select embeddings+",
            )
        yield chunk
