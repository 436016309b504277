"""The trained, empty index that every partition is encoded with.

It is an input of all segments, so it stays as it is while it fits the pool: new partitions do
not make old segments stale. Which kind fits is said by ``engine.kinds``, when it is trained anew by
``index.retraining``; its files are read by ``index.recipe_file``.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clip_assets import layout, schemas
from clip_assets.errors import DamagedError, MissingArtifactError, SchemaError
from clip_assets.index import drift, own_lists, recipe_file, retraining, vectors_in
from clip_assets.index.drift import Baseline
from clip_assets.index.engine import kinds
from clip_assets.index.engine.kinds import CODES, POINTS_PER_LIST, Choice
from clip_assets.index.recipe_file import Recipe
from clip_assets.index.retraining import Ruling
from clip_assets.index.vectors_in import Embedded, embedded, only_model
from clip_assets.layout import WHOLE, Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import vectors as stored_vectors
from clip_assets.storage.manifests import Report

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Index

VERSION = "5"

SEED = 7

Places = npt.NDArray[np.int64]

QUERIES = 4_000
"""Of each kind, at most; a recall of 0.9 is then known to about 0.005."""

MOST_ASKED = 1 / 4
"""Of the pool are queries, as lists are not trained on them: they would lie too well."""


def index_recipe(pool: Pool, key: Key) -> Outcome:
    """Choose and train the index, or keep the one that still fits.

    Memory: the training sample of one side in float32, at most ``train_limit`` vectors, and as
    much again for k-means.

    Raises:
        NotReadyError: no partition is embedded yet.
        ModelMismatchError: partitions were embedded by different models.
    """
    verdict = retraining.verdict(pool, VERSION)
    outcome = materialize(pool, INDEX_RECIPE, key, partial(_make, verdict=verdict))
    if not outcome.reused:
        return outcome
    # The stored report tells of the pool as it was when the recipe was made.
    report, fits = outcome.manifest.report, recipe_file.read(pool.store).fits_up_to
    kept = f"kept: {embedded(pool).vectors:,} vectors, fits up to {fits:,}"
    decision = {"decision": kept, "rule": verdict.compared}
    told = replace(report, figures=report.figures | decision)
    return Outcome(replace(outcome.manifest, report=told), reused=True)


def index_recipe_inputs(pool: Pool, key: Key) -> Inputs:
    """What the recipe depends on; those of the existing recipe while it fits."""
    existing = pool.catalog.get(layout.INDEX_RECIPE, key)
    if existing is not None and not retraining.verdict(pool, VERSION).why:
        return existing.inputs
    vectors = embedded(pool)
    return {
        layout.EMBEDDINGS: _digest(vectors),
        "model": ",".join(vectors.models),
        "settings": retraining.settings_digest(pool.settings.index),
        "vectors": str(vectors.vectors),
    }


INDEX_RECIPE = Asset(
    layout.INDEX_RECIPE,
    VERSION,
    make=index_recipe,
    inputs=index_recipe_inputs,
    axis="pool",
    deps=(layout.EMBEDDINGS,),
    settings=("model", "settings", "vectors"),
)


def _make(run: StageRun, verdict: Ruling) -> Report:
    from clip_assets.index import trials
    from clip_assets.index.engine import ann

    if run.to_mend and _restored(run):
        return Report(0, 0)
    settings, vectors = run.pool.settings.index, _trained_on(run)
    model, dim = only_model(run.store, vectors), vectors_in.dim(run.store, vectors)
    total = vectors.vectors
    asked = _places(total, min(QUERIES, int(MOST_ASKED * total)), SEED + 1)
    limit = min(settings.train_limit, total - len(asked))
    lists = kinds.lists_for(total, limit)
    fitting = kinds.fitting(total, dim, lists, settings)
    choice, table = _chosen(run, fitting) or _best(run, vectors, asked, fitting)
    points = 0 if choice.key == kinds.FLAT else POINTS_PER_LIST * max(lists, CODES)
    places = _besides(asked, total, min(limit, points))
    queries = {kind: vectors_in.rows_at(run.store, vectors, kind, asked) for kind in layout.SIDES}
    baselines: dict[str, Baseline] = {}
    for number, side in enumerate(layout.SIDES):
        run.progress(number, len(layout.SIDES), f"sides trained, each on {len(places):,} vectors")
        sample = vectors_in.rows_at(run.store, vectors, side, places)
        trained = ann.trained(choice.key, dim, sample)
        known = drift.baseline(trained, sample, queries[side])
        baselines |= {side: known} if known else {}
        with run.publish(layout.recipe(side)) as part:
            ann.write(trained, part)
    for kind, rows in queries.items():
        with run.publish(layout.recipe_queries(kind)) as part:
            stored_vectors.write(part, [rows.astype(schemas.EMBEDDING)], *rows.shape)
    recipe = Recipe(
        key=choice.key,
        why=choice.why,
        dim=dim,
        bytes_per_vector=choice.bytes_per_vector,
        vectors=vectors.vectors,
        fits_up_to=choice.fits_up_to,
        sampled=len(places),
        model=model.inputs["model"],
        model_name=vectors_in.model_name(run.store, model),
        baselines=baselines,
    )
    with run.publish(layout.recipe_choice()) as part:
        part.write_text(json.dumps(asdict(recipe), indent=1))
    decision = {"decision": f"new: {verdict.why}", "rule": verdict.compared}
    figures = asdict(recipe) | decision | {"candidates": table}
    pictures: dict[str, str] = {}
    if table:
        by_time, by_bytes = trials.by_time(table), trials.by_bytes(table)
        pictures["Recall and time"] = run.publish_picture("times.png", by_time)
        pictures["Recall and bytes"] = run.publish_picture("trials.png", by_bytes)
    return Report(total, total, figures=figures, pictures=pictures)


def _chosen(run: StageRun, fitting: list[Choice]) -> tuple[Choice, list[dict[str, Any]]] | None:
    """What the run chose that made a recipe which is mended: times are not the same twice."""
    if not run.to_mend:
        return None
    figures = run.pool.catalog.require(run.asset.name, run.key).report.figures
    same = [choice for choice in fitting if choice.key == figures["key"]]
    return (same[0], figures["candidates"]) if same else None


def _best(
    run: StageRun, vectors: Embedded, asked: Places, fitting: list[Choice]
) -> tuple[Choice, list[dict[str, Any]]]:
    """The kind that finds most of those that fit, and what was measured of each."""
    from clip_assets.index import trials

    if vectors.vectors < trials.LEAST_VECTORS or fitting[0].key == kinds.FLAT:
        return fitting[0], []
    places = _besides(asked, vectors.vectors, trials.TRAINED + trials.HELD)
    sample = vectors_in.rows_at(run.store, vectors, "image", places)
    queries = {kind: vectors_in.rows_at(run.store, vectors, kind, asked) for kind in layout.SIDES}

    def progress(done: int) -> None:
        run.progress(done, len(fitting), "kinds of codes tried")

    results = trials.tried(fitting, sample, queries, vectors.vectors, progress)
    choice = trials.best(fitting, results)
    return choice, trials.as_figures(results, choice.key)


def _trained_on(run: StageRun) -> Embedded:
    """The vectors of the pool; of a recipe that is made again, those that there were then.

    Raises:
        DamagedError: they are no longer there.
    """
    every = embedded(run.pool)
    if not run.to_mend:
        return every
    wanted = run.pool.catalog.require(run.asset.name, run.key).inputs[layout.EMBEDDINGS]
    keys = [made.key for made in every.done]
    for count in range(len(keys), 0, -1):
        first = embedded(run.pool, keys[:count])
        if _digest(first) == wanted:
            return first
    raise DamagedError(
        layout.INDEX_RECIPE,
        "embeddings that are newer than it",
        "those that it was trained on",
        "To train a new one and encode every partition with it: remove "
        f"{layout.manifest(layout.INDEX_RECIPE)}, then clip-assets run",
    )


def _digest(vectors: Embedded) -> str:
    digests = "".join(
        f"{made.key} {made.digest(layout.img_emb, layout.text_emb)}\n" for made in vectors.done
    )
    return hashlib.sha256(digests.encode()).hexdigest()


def _restored(run: StageRun) -> bool:
    """Publish what segments still have of the recipe; whether that was all."""
    from clip_assets.index.engine import ann

    for side in layout.SIDES:
        index = _of_a_segment(run, side)
        if index is not None:
            with run.publish(layout.recipe(side)) as part:
                ann.write(index, part)
    return run.to_mend <= {output.path for output in run.outputs}


def _of_a_segment(run: StageRun, side: str) -> "Index | None":
    """The trained index that some segment was encoded with: what training gave, exactly."""
    from clip_assets.index.engine import ann

    catalog = run.pool.catalog
    recipe = catalog.digest(layout.INDEX_RECIPE, WHOLE, layout.recipe, layout.recipe_queries)
    for key in run.pool.partitions:
        segment, path = catalog.get(layout.INDEX_SEGMENTS, key), layout.segment(side, key)
        if segment is None or segment.inputs[layout.INDEX_RECIPE] != recipe:
            continue
        if own_lists.read(run.pool, side, key) is not None:
            continue  # more than training gave
        damage = (DamagedError, MissingArtifactError, SchemaError)
        with suppress(*damage), run.store.local(path) as file:
            return ann.emptied(ann.read(file, run.store.uri(path)))
    return None


def _besides(asked: Places, total: int, wanted: int) -> Places:
    """Rows to train on, of which none is asked for."""
    drawn = _places(total, wanted + len(asked), SEED)
    others = drawn[~np.isin(drawn, asked)]
    return others[_places(len(others), wanted, SEED)]


def _places(total: int, wanted: int, seed: int) -> Places:
    """Rows of the whole pool to train on or to ask for, ascending."""
    if wanted >= total:
        return np.arange(total)
    chosen = np.random.default_rng(seed).choice(total, size=wanted, replace=False, shuffle=False)
    return np.sort(chosen)
