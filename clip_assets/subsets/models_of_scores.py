"""Whose model made the numbers that pairs are chosen by, as far as that is known.

A threshold means something for one model alone. What is chosen is said by methods.
"""

import json
from collections.abc import Mapping
from typing import Any

from clip_assets import layout
from clip_assets.encoders.identity import model_name
from clip_assets.errors import ModelMismatchError
from clip_assets.pool.pool import Pool
from clip_assets.settings.bases import SubsetSettings
from clip_assets.subsets.candidates import Candidates, PoolRows

Models = tuple[str, ...]
"""The names of one model, the one for people first; none where it is not known."""

METADATA = b"clip_assets.models"
"""Of a parquet file: a json object, for columns of scores the name of the model that made them."""

OPENAI = {"b32": "ViT-B-32/openai", "l14": "ViT-L-14/openai"}
"""The models of DataComp's columns and vectors."""

OWN = "clip_similarity_score"


def of_column(rows: Candidates, column: str) -> Models:
    """By whom a column of candidates is.

    Raises:
        ModelMismatchError: it is by the pool's model, and the settings name another one.
    """
    if isinstance(rows, PoolRows) and column == OWN:
        return _of_pool(rows.pool)
    if told := in_file(rows.schema.metadata, column):
        return told
    by_openai = {f"clip_{arch}_similarity_score": model for arch, model in OPENAI.items()}
    return (by_openai[column],) if column in by_openai else ()


def of_settings(rows: Candidates, settings: SubsetSettings) -> Models:
    """By whom the vectors of candidates are that a definition asks for, if it does.

    Raises:
        ModelMismatchError: they are by the pool's model, and the settings name another one.
    """
    arch = getattr(settings, "arch", None)
    if arch is None:
        return ()
    if arch in OPENAI:  # its vectors lie beside its similarities, and are by the same model
        return of_column(rows, f"clip_{arch}_similarity_score")
    return _of_pool(rows.pool) if isinstance(rows, PoolRows) else ()


def in_file(metadata: Mapping[bytes, bytes] | None, column: str) -> Models:
    """By whom a file says that a column is; what cannot be read says nothing."""
    try:
        told: Any = json.loads((metadata or {}).get(METADATA, b"{}"))
        return (told[column],) if isinstance(told[column], str) else ()
    except (ValueError, LookupError, TypeError):
        return ()


def check(score: str, models: Models, wanted: str | None) -> None:
    """Make sure that a score is by the model that a definition names, where both are known.

    Raises:
        ModelMismatchError: it is not.
    """
    if wanted is not None and models and wanted not in models:
        raise ModelMismatchError(
            score,
            f"scores by {models[0]}",
            f"scores by {wanted}, as the definition says",
            "Thresholds mean something for one model alone: choose by the scores of that one, or "
            "change model and threshold together.",
        )


def named(name: str, pretrained: str | None) -> str:
    """A model as definitions name it."""
    return f"{name}/{pretrained}" if pretrained else name


def _of_pool(pool: Pool) -> Models:
    owner = pool.owner
    if owner is None:
        return ()
    own, asked = named(owner.name, owner.pretrained), named(*model_name(pool.settings.inference))
    if pool.model_digest != owner.digest():
        raise ModelMismatchError(
            pool.store.uri(layout.MODEL),
            f"scores and vectors by {own}",
            f"those by {asked}, the model of the settings",
            "Set inference.model and inference.pretrained to the pool's model. If it is the same "
            f"under another name: clip-assets run --select {layout.EMBEDDINGS} finds that out.",
        )
    return (own, asked)
