"""When the lists and codes of an index are trained anew: by growth, by drift or by hand.

Everything else keeps them, because training anew means to encode the whole pool anew. Drift is what
the newest index version says of itself (``index.drift``), so no vector is read here; training is
the matter of ``index.index_recipe``.
"""

import json
from dataclasses import dataclass
from typing import Any

from clip_assets import layout
from clip_assets.errors import StoreError
from clip_assets.index import recipe_file, versions
from clip_assets.index.drift import Drift
from clip_assets.index.engine.kinds import FLAT
from clip_assets.index.recipe_file import Recipe
from clip_assets.index.vectors_in import embedded
from clip_assets.layout import WHOLE
from clip_assets.pool.pool import Pool
from clip_assets.settings import IndexSettings


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rule says.

    Args:
        why: a new recipe is needed; empty if the existing one stays.
        compared: what with which setting, for people.
    """

    why: str
    compared: dict[str, Any]


def settings_digest(settings: IndexSettings) -> str:
    """The settings that a recipe is made by."""
    names = {"max_memory_bytes", "flat_limit", "train_limit", "retrain"}
    return json.dumps(settings.model_dump(include=names), sort_keys=True)


def verdict(pool: Pool, code_version: str) -> Ruling:
    """Whether the pool's recipe stays.

    Args:
        pool: any.
        code_version: of today's recipes.
    """
    existing = pool.catalog.get(layout.INDEX_RECIPE)
    if existing is None:
        return Ruling("there was none", {})
    if existing.code_version != code_version:
        return Ruling("this release trains it otherwise", {})
    vectors = embedded(pool)
    if not vectors.done:
        return Ruling("", {})
    if existing.inputs["model"] != ",".join(vectors.models):
        return Ruling("the pool was embedded by another model", {})
    if existing.inputs["settings"] != settings_digest(pool.settings.index):
        return Ruling("settings of the index changed", {})
    try:
        recipe = recipe_file.read(pool.store)
    except (StoreError, ValueError, TypeError):
        return Ruling("", {})  # Whoever reads it says so; damage is no reason for a new one.
    figures, settings = _figures(pool, recipe, vectors.vectors), pool.settings.index
    return Ruling(_why(recipe, vectors.vectors, figures, settings), figures)


def _why(recipe: Recipe, vectors: int, figures: dict[str, Any], settings: IndexSettings) -> str:
    if vectors > recipe.fits_up_to:
        return f"{vectors:,} vectors are more than it fits ({recipe.fits_up_to:,})"
    if recipe.key != FLAT and vectors > settings.retrain_grown * recipe.vectors:
        return (
            f"{vectors:,} vectors are more than {settings.retrain_grown:g} times the "
            f"{recipe.vectors:,} that it was trained for (index.retrain_grown)"
        )
    for side, far in figures.get("far", {}).items():
        if far > settings.retrain_far:
            return (
                f"{far:.3f} of the {side} vectors are far from the centre of their list, more "
                f"than {settings.retrain_far:g} (index.retrain_far)"
            )
    for side, times in figures.get("imbalance_grown", {}).items():
        if times > settings.retrain_imbalance:
            return (
                f"{side} lists are {times:.2f} times as uneven as when they were trained, more "
                f"than {settings.retrain_imbalance:g} (index.retrain_imbalance)"
            )
    return ""


def _figures(pool: Pool, recipe: Recipe, vectors: int) -> dict[str, Any]:
    """Growth, and drift by side as far as it is known."""
    known, settings = _drift(pool, recipe), pool.settings.index
    return {
        "vectors": vectors,
        "vectors_when_trained": recipe.vectors,
        "grown": round(vectors / max(1, recipe.vectors), 4),
        "far": {side: drift.far for side, drift in known.items()},
        "imbalance_grown": {
            side: round(drift.imbalance / max(1.0, drift.imbalance_trained), 4)
            for side, drift in known.items()
        },
        "retrain_grown": settings.retrain_grown,
        "retrain_far": settings.retrain_far,
        "retrain_imbalance": settings.retrain_imbalance,
    }


def _drift(pool: Pool, recipe: Recipe) -> dict[str, Drift]:
    """By the newest version, if it is of this recipe and holds as much as that was trained for.

    Of a version of some partitions lists are uneven because others are not there yet.
    """
    merged = pool.catalog.get(layout.FAISS_INDEX, WHOLE)
    manifests = merged.of_kind(layout.index_manifest) if merged else []
    if not manifests:
        return {}
    try:
        version = versions.read(pool.store, manifests[0].path.split("/")[1])
    except StoreError:
        return {}
    digest = pool.catalog.digest(layout.INDEX_RECIPE, WHOLE, layout.recipe)
    is_of_it = version.recipe == digest and version.vectors >= recipe.vectors
    return version.drift if is_of_it else {}
