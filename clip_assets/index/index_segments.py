"""The vectors of one partition, encoded as the recipe says.

Segments are what a new partition costs: merging them is ``faiss_index``.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import AlignmentError, CheckFailedError, ModelMismatchError, SchemaError
from clip_assets.index import drift, own_lists, recipe_file, vectors_in
from clip_assets.index.engine.kinds import FLAT
from clip_assets.index.recipe_file import Recipe
from clip_assets.layout import WHOLE, Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Manifest, Report
from clip_assets.storage.store import Store

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Floats, Index, Placed
    from clip_assets.index.on_device import ByCores, OnDevice

logger = logging.getLogger(__name__)

CHUNK_ROWS = 32_768
"""Vectors that are encoded at once."""

LENGTH_WITHIN = 0.01
"""Of 1: float16 alone makes a vector so much longer or shorter by far."""


def index_segments(pool: Pool, partition: Key) -> Outcome:
    """Encode the image and text vectors of a partition; row i gets id i.

    A partition of new contents brings lists of its own, see ``index.own_lists``.

    Memory: the encoded vectors of one side of the partition, 12 bytes for each, ``CHUNK_ROWS``
    vectors, and those that its own lists are trained on.

    Raises:
        MissingArtifactError: the partition is not embedded, or there is no recipe.
        DamagedError: its vectors or the recipe are gone or damaged.
        ModelMismatchError: it was embedded by another model than the recipe is for.
        AlignmentError: images, texts and rows of the partition differ in number.
        CheckFailedError: a vector is not finite, or not of length 1.
    """
    return materialize(pool, INDEX_SEGMENTS, partition, _work)


def index_segments_inputs(pool: Pool, partition: Key) -> Inputs:
    """What a partition's segments depend on."""
    read = pool.catalog
    return {
        layout.EMBEDDINGS: read.digest(
            layout.EMBEDDINGS, partition, layout.img_emb, layout.text_emb
        ),
        layout.INDEX_RECIPE: read.digest(
            layout.INDEX_RECIPE, WHOLE, layout.recipe, layout.recipe_queries
        ),
    }


INDEX_SEGMENTS = Asset(
    layout.INDEX_SEGMENTS,
    "7",
    make=index_segments,
    inputs=index_segments_inputs,
    deps=(layout.EMBEDDINGS, layout.INDEX_RECIPE),
    rows_from=layout.EMBEDDINGS,
)


def _work(run: StageRun) -> Report:
    embeddings = run.pool.catalog.require(layout.EMBEDDINGS, run.partition)
    run.pool.catalog.require(layout.INDEX_RECIPE)
    wanted = recipe_file.read(run.store)
    _check_model(run.store, embeddings, wanted)
    # Without samples there are no vectors, and no segment of them.
    rows = embeddings.report.rows_out
    far = _encode(run, wanted) if rows else {}
    figures = {"key": wanted.key, "dim": wanted.dim, "bytes_per_vector": wanted.bytes_per_vector}
    shares = {side: round(count / rows, 4) for side, count in far.items()}
    return Report(rows, rows, figures=figures | {"far_from_centre": shares})


def _check_model(store: Store, embeddings: Manifest, wanted: Recipe) -> None:
    if embeddings.inputs["model"] != wanted.model:
        raise ModelMismatchError(
            embeddings.name,
            f"vectors of {vectors_in.model_name(store, embeddings)}",
            f"vectors of {wanted.model_name}, which the index recipe is for",
            "Embed every partition with one model, then: "
            f"clip-assets run --select {layout.INDEX_RECIPE}+",
        )


def _encode(run: StageRun, wanted: Recipe) -> dict[str, int]:
    """Encode both sides; how many vectors of each are far from the centre of their list."""
    rows = tables.count(run.store, layout.embedding_rows(run.partition))
    sides = {side: _encode_side(run, side, rows, wanted) for side in layout.SIDES}
    far = {side: count for side, count in sides.items() if side in wanted.baselines}
    if wanted.key != FLAT:
        with run.publish(drift.segment_far(run.partition)) as part:
            drift.write(part, far)
    return far


def _encode_side(run: StageRun, side: str, rows: int, wanted: Recipe) -> int:
    """Encode the vectors of one side, and compare each with the recipe's queries.

    Returns:
        How many are far; 0 where it is not known which are.
    """
    from clip_assets.index import on_device
    from clip_assets.index.effort import neighbours
    from clip_assets.index.engine import ann, more_lists

    name = vectors_in.path(side, run.partition)
    catalog = run.pool.catalog
    with catalog.sound(layout.INDEX_RECIPE, WHOLE, layout.recipe(side)) as file:
        empty = ann.read(file, run.store.uri(layout.recipe(side)))
    queries = {kind: recipe_file.queries(run.store, kind) for kind in layout.SIDES}
    truths = {kind: neighbours.nothing(len(asked)) for kind, asked in queries.items()}
    baseline, far = wanted.baselines.get(side), 0
    with (
        on_device.comparing(_place(run), empty, queries) as comparing,
        catalog.sound(layout.EMBEDDINGS, run.partition, name),
        vectors.opened(run.store, name) as array,
    ):
        _check_shape(run.store.uri(name), array.shape, rows, wanted)
        has_lists = ann.inverted(empty) is not None
        before = _placed(run, comparing, array, name) if has_lists else None
        centres = _own_centres(run, side, empty, array, before, wanted) if before else None
        segment = more_lists.extended(empty, centres)
        for start, chunk in _chunks(array, run.store.uri(name)):
            placed = before and before.some(slice(start, start + len(chunk)))
            if placed and centres is not None:
                placed = more_lists.nearer(empty, chunk, placed, centres)
            placed = ann.add(segment, chunk, known=placed)
            far += drift.far(baseline, placed.similarities) if baseline else 0
            for kind, known in truths.items():
                truths[kind] = comparing.truth(kind, chunk, placed.lists, known)
            run.progress(start + len(chunk), rows, f"rows of {name} encoded")
    with run.publish(layout.segment(side, run.partition)) as part:
        ann.write(segment, part)
    if before and side == "image":
        with run.publish(layout.segment_lists(run.partition)) as part, part.open("wb") as file:
            np.save(file, before.lists.astype(np.int32))
    for kind, known in truths.items():
        with run.publish(layout.segment_neighbours(side, kind, run.partition)) as part:
            neighbours.write(part, known)
    return far


def _place(run: StageRun) -> str | None:
    """The device that compares vectors; None for cores."""
    if not run.pool.settings.index.on_device:
        return None
    place = next(iter(run.pool.places), "cpu")
    if place == "cpu":
        logger.warning("%s: no accelerator is there, cores compare vectors", run.name)
        return None
    return place


def _placed(
    run: StageRun, comparing: "ByCores | OnDevice", array: vectors.Vectors, path: str
) -> "Placed":
    """Where vectors lie in the recipe's lists."""
    from clip_assets.index.engine import ann

    chunks: list[Placed] = []
    for start, chunk in _chunks(array, run.store.uri(path)):
        chunks.append(comparing.placed(chunk))
        run.progress(start + len(chunk), len(array), f"rows of {path} put into lists")
    lists = np.concatenate([chunk.lists for chunk in chunks])
    return ann.Placed(lists, np.concatenate([chunk.similarities for chunk in chunks]))


def _own_centres(
    run: StageRun,
    side: str,
    empty: "Index",
    array: vectors.Vectors,
    placed: "Placed",
    wanted: Recipe,
) -> "Floats | None":
    """Centres of the lists that the partition brings, published; None where it needs none."""
    from clip_assets.index.engine import more_lists

    path, known = own_lists.segment_centres(side, run.partition), wanted.baselines.get(side)
    if known is None:
        return None
    far = np.flatnonzero(drift.is_far(known, placed.similarities))
    count = own_lists.wanted(len(far), len(array), more_lists.count(empty), wanted.vectors)
    if not count:
        return None
    if run.to_mend and path not in run.to_mend:
        return own_lists.read(run.pool, side, run.partition)
    some = np.asarray(array[own_lists.sample(far, count)], np.float32)
    centres = more_lists.trained(empty, some, count)
    with run.publish(path) as part, part.open("wb") as file:
        np.save(file, centres)
    return centres


def _check_shape(where: str, shape: tuple[int, ...], rows: int, wanted: Recipe) -> None:
    advice = f"Run: clip-assets run --select {layout.EMBEDDINGS}+"
    if shape[1] != wanted.dim:
        raise SchemaError(where, f"dim {shape[1]}", f"dim {wanted.dim}, as in the recipe", advice)
    if shape[0] != rows:
        raise AlignmentError(where, f"{shape[0]:,} vectors", f"{rows:,}, one for a row", advice)


def _chunks(
    array: npt.NDArray[np.float16], where: str
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Vectors that are encoded at once, each with the row of the first."""
    for start in range(0, len(array), CHUNK_ROWS):
        chunk = array[start : start + CHUNK_ROWS]
        rows = chunk.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
        # False for what is not finite, too.
        good = np.abs(lengths - 1) <= LENGTH_WITHIN
        if not good.all():
            raise _bad(where, start, lengths, good)
        yield start, rows


def _bad(
    where: str, start: int, lengths: npt.NDArray[np.float32], good: npt.NDArray[np.bool_]
) -> CheckFailedError:
    """The first vector of a chunk that cannot be."""
    row = int(np.argmin(good))
    length = float(lengths[row])
    told = f"of length {length:.3f}" if np.isfinite(length) else "that is not finite"
    return CheckFailedError(
        where,
        f"a vector {told} in row {start + row:,}",
        "finite vectors of length 1",
        f"Run: clip-assets run --select {layout.EMBEDDINGS}+",
    )
