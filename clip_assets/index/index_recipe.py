"""The trained, empty index that every partition is encoded with.

It is an input of all segments, so it stays as it is while it fits the pool: new partitions do
not make old segments stale. Which kind fits is said by ``index.kinds``.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.index import kinds, vectors_in
from clip_assets.index.vectors_in import Pool
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.settings import Index
from clip_assets.storage.manifests import Catalog, Manifest, Report
from clip_assets.storage.store import Store

INDEX_RECIPE = Stage("index_recipe", "1")

POINTS_PER_LIST = 256
"""Vectors that training uses for each list and code at most; more do not make it better."""

CODES = 256
"""Values of one byte of a product code."""

SEED = 7


@dataclass(frozen=True, slots=True)
class Recipe:
    """The content of ``layout.RECIPE``.

    Args:
        key: of faiss' index factory, for both sides.
        why: this kind was chosen.
        dim: of the vectors.
        bytes_per_vector: in a merged index, id included.
        vectors: of the pool when it was trained.
        fits_up_to: vectors of the pool for which it stays.
        sampled: vectors of each side that it was trained on.
        model: digest of the model identity of those vectors.
        model_name: the model in words.
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


def read(store: Store) -> Recipe:
    """The pool's recipe.

    Raises:
        MissingArtifactError: there is none yet.
    """
    return Recipe(**json.loads(store.read_bytes(layout.RECIPE, INDEX_RECIPE.asset)))


def index_recipe(catalog: Catalog, partitions: Sequence[PartitionKey], settings: Index) -> Outcome:
    """Choose and train the index, or keep the one that still fits.

    Memory: the training sample of one side in float32, at most ``train_limit`` vectors, and as
    much again for k-means.

    Raises:
        NotReadyError: no partition is embedded yet.
        ModelMismatchError: partitions were embedded by different models.
    """
    pool = vectors_in.look(catalog, partitions)
    reason = _why_new(catalog.get(INDEX_RECIPE.asset), pool, settings)
    inputs = index_recipe_inputs(catalog, partitions, settings)
    outcome = materialize(
        catalog, INDEX_RECIPE, None, inputs, lambda run: _make(run, pool, settings, reason)
    )
    if not outcome.reused:
        return outcome
    # The stored report tells of the pool as it was when the recipe was made.
    report = outcome.manifest.report
    kept = f"kept: {pool.vectors:,} vectors, fits up to {report.figures['fits_up_to']:,}"
    told = replace(report, figures=report.figures | {"decision": kept})
    return Outcome(replace(outcome.manifest, report=told), reused=True)


def index_recipe_inputs(
    catalog: Catalog, partitions: Sequence[PartitionKey], settings: Index
) -> dict[str, str]:
    """What the recipe depends on; those of the existing recipe while it fits."""
    pool = vectors_in.look(catalog, partitions)
    existing = catalog.get(INDEX_RECIPE.asset)
    if existing is not None and not _why_new(existing, pool, settings):
        return existing.inputs
    digests = "".join(f"{found.partition} {found.digest('.npy')}\n" for found in pool.done)
    return {
        "embeddings": hashlib.sha256(digests.encode()).hexdigest(),
        "model": ",".join(pool.models),
        "settings": _settings_digest(settings),
        "vectors": str(pool.vectors),
    }


def _settings_digest(settings: Index) -> str:
    chosen = settings.model_dump(include={"max_memory_bytes", "flat_limit", "train_limit"})
    return json.dumps(chosen, sort_keys=True)


def _why_new(existing: Manifest | None, pool: Pool, settings: Index) -> str:
    """Why a new recipe is needed, empty when the existing one fits."""
    if existing is None:
        return "there was none"
    if existing.code_version != INDEX_RECIPE.version:
        return "this release trains it otherwise"
    if not pool.done:
        return ""
    if existing.inputs["model"] != ",".join(pool.models):
        return "the pool was embedded by another model"
    if existing.inputs["settings"] != _settings_digest(settings):
        return "settings of the index changed"
    limit = existing.report.figures["fits_up_to"]
    if pool.vectors > limit:
        return f"{pool.vectors:,} vectors are more than it fits ({limit:,})"
    return ""


def _make(run: StageRun, pool: Pool, settings: Index, reason: str) -> Report:
    from clip_assets.index import ann

    model, dim = vectors_in.only_model(pool), vectors_in.dim(run.store, pool)
    lists = kinds.lists_for(pool.vectors, settings.train_limit)
    choice = kinds.choose(pool.vectors, dim, lists, settings)
    points = 0 if choice.key == kinds.FLAT else POINTS_PER_LIST * max(lists, CODES)
    places = _places(pool.vectors, min(settings.train_limit, points))
    recipe = Recipe(
        key=choice.key,
        why=choice.why,
        dim=dim,
        bytes_per_vector=choice.bytes_per_vector,
        vectors=pool.vectors,
        fits_up_to=choice.fits_up_to,
        sampled=len(places),
        model=model.inputs["model"],
        model_name=vectors_in.model_name(model),
    )
    for side in layout.SIDES:
        sample = vectors_in.rows_at(run.store, pool, side, places)
        with run.publish(layout.recipe(side)) as part:
            ann.write(ann.trained(choice.key, dim, sample), part)
    with run.publish(layout.RECIPE) as part:
        part.write_text(json.dumps(asdict(recipe), indent=1))
    return Report(
        pool.vectors, pool.vectors, figures=asdict(recipe) | {"decision": f"new: {reason}"}
    )


def _places(total: int, wanted: int) -> npt.NDArray[np.int64]:
    """Rows of the whole pool to train on, ascending."""
    if wanted >= total:
        return np.arange(total)
    chosen = np.random.default_rng(SEED).choice(total, size=wanted, replace=False, shuffle=False)
    return np.sort(chosen)
