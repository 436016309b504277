"""What heads do to searches of clip-retrieval's form: towards pleasing, away from unsafe.

They are named by the settings of the pool that is searched; a request by ``KnnRequest``.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from clip_assets.encoders import head_file
from clip_assets.encoders.head import Head
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.queries import Vector, unit
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import Floats, Ids
from clip_assets.service.clip_retrieval.knn_requests import KnnRequest

ASKED_BY = {
    "use_safety_model": "safety",
    "use_violence_detector": "violence",
    "aesthetic_score": "aesthetic",
}
"""Which head a field of a request asks for."""

MIDDLE = 4.5
"""The score that leads nowhere; 9 leads towards pleasing images, 0 as far away from them."""

_head = lru_cache(maxsize=64)(head_file.read)


def ignored(pool: Pool, body: Mapping[str, Any]) -> list[str]:
    """Fields that ask for a head which the pool has not."""
    heads = pool.settings.heads
    return [
        field for field, name in ASKED_BY.items() if body.get(field) and not getattr(heads, name)
    ]


def asked(pool: Pool, request: KnnRequest) -> bool:
    """Whether a request asks for a head that the pool has."""
    is_led = request.aesthetic_score is not None and bool(pool.settings.heads.aesthetic)
    heads = pool.settings.heads
    is_judged = (request.is_safe and heads.safety) or (request.is_peaceful and heads.violence)
    return is_led or bool(is_judged)


def towards(pool: Pool, request: KnnRequest, vector: Vector) -> Vector:
    """A query's vector, led towards pleasing images as far as the request says.

    Raises:
        ConfigurationError: the head's name is wrong.
        SourceError: the head cannot be read.
    """
    uri = pool.settings.heads.aesthetic
    if request.aesthetic_score is None or not uri:
        return vector
    share = request.aesthetic_weight * (request.aesthetic_score - MIDDLE) / MIDDLE
    rising = _head(uri, len(vector)).direction(vector)
    length = np.linalg.norm(rising)
    if not length:
        return vector
    return unit(vector + np.float32(share) * rising / length, len(vector))


def kept(
    pool: Pool, request: KnnRequest, searcher: Searcher, ids: Ids, similarities: Floats
) -> tuple[Ids, Floats]:
    """Results without those that the heads a request asks for leave out, by their images.

    Raises:
        ConfigurationError: a head's name is wrong.
        SourceError: a head cannot be read.
    """
    judges = _judges(pool, request, searcher.version.dim)
    if not judges or not len(ids):
        return ids, similarities
    vectors = searcher.vectors(ids, "image")
    # What has no vector to be judged by is left out, too.
    is_kept = np.all([head.scores(vectors) <= 0 for head in judges], axis=0)
    return ids[is_kept], similarities[is_kept]


def _judges(pool: Pool, request: KnnRequest, dim: int) -> list[Head]:
    heads = pool.settings.heads
    # One file may be both.
    asked = ((heads.safety, request.is_safe), (heads.violence, request.is_peaceful))
    return [_head(uri, dim) for uri, is_asked in asked if uri and is_asked]
