"""What ``/knn-service`` and ``/metadata`` of clip-retrieval ask for.

Fields and their meanings are those of its back, release 2.45; what it fails on with status 500 is
refused with a reason. How they are answered is in ``knn_answers``; the endpoints are in
``knn_endpoints``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from clip_assets.layout import SIDES
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.wire import (
    MOST_EXPORTED,
    MOST_NUMBERS,
    MOST_TEXT,
    MOST_WEIGHT,
    SearchRequest,
    SearchTerm,
)

ALIKE = 0.94
"""Cosine above which it takes two results for duplicates."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KnnRequest:
    """A request of ``/knn-service``, found to be right.

    Args:
        index: its name; None: the first one.
        term: the query.
        scale: that similarities are multiplied by: the length of an embedding.
        is_unknown: whether the embedding is not finite, which finds nothing.
        side: that is searched.
        with_rows: results that have metadata; counted from the end if negative.
        results: that have an id.
        deduplicate: whether near-copies are left out.
        aesthetic_score: 0 to 9, how pleasing results shall be; None: however.
        aesthetic_weight: how much that counts beside the query.
        is_safe: whether unsafe results are left out.
        is_peaceful: whether violent results are left out.
    """

    index: str | None
    term: SearchTerm
    scale: float
    is_unknown: bool
    side: str
    with_rows: int
    results: int
    deduplicate: bool
    aesthetic_score: float | None = None
    aesthetic_weight: float = 0.5
    is_safe: bool = False
    is_peaceful: bool = False

    @property
    def search(self) -> SearchRequest:
        """As ours asks for it."""
        return SearchRequest.model_construct(
            index=self.index,
            terms=[self.term],
            side=self.side,
            k=self.results,
            offset=0,
            threshold=None,
            threshold_kind="absolute",
            recall_target=None,
            where=None,
            fold=ALIKE if self.deduplicate else None,
            columns=None,
            facets=False,
        )


def parsed(content: bytes) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        RefusalError: it is none.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = _loosely(content)
    if not isinstance(body, dict):
        raise wrong("the body", f"a {type(body).__name__}", "an object")
    return body


def knn(body: Body) -> KnnRequest:
    """What a body asks for.

    Raises:
        RefusalError: it cannot be.
    """
    _check_given(body, "modality", "num_images", "indice_name")
    with_rows = _whole(body, "num_images")
    results = _whole(body, "num_result_ids") if "num_result_ids" in body else with_rows
    if not 1 <= results <= MOST_EXPORTED:
        raise wrong("num_result_ids", str(results), f"1 to {MOST_EXPORTED:,}")
    if body.get("use_mclip"):
        raise wrong("use_mclip", "a multilingual model that is asked for", "the index's own model")
    weight = _number(body, "aesthetic_weight")
    term, scale = _term(body)
    return KnnRequest(
        index=index_name(body),
        term=term,
        scale=scale,
        is_unknown=not np.isfinite(scale),
        # Whatever is not an image is the text side there.
        side=SIDES[0] if body["modality"] == SIDES[0] else SIDES[1],
        with_rows=with_rows,
        results=results,
        deduplicate=bool(body.get("deduplicate")),
        aesthetic_score=_number(body, "aesthetic_score"),
        aesthetic_weight=0.5 if weight is None else weight,
        is_safe=bool(body.get("use_safety_model")),
        is_peaceful=bool(body.get("use_violence_detector")),
    )


def index_name(body: Body) -> str | None:
    """The index that a body names; empty and null are the first one.

    Raises:
        RefusalError: it is no text.
    """
    _check_given(body, "indice_name")
    name = body["indice_name"]
    if name is not None and not isinstance(name, str):
        raise wrong("indice_name", repr(name)[:100], "a name, or null")
    return name or None


def ids_of(body: Body) -> list[int]:
    """Vector ids that a body asks for.

    Raises:
        RefusalError: they are no numbers, or too many.
    """
    ids = body.get("ids")
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        raise wrong("ids", repr(ids)[:100], "a list of whole numbers")
    if len(ids) > MOST_EXPORTED:
        raise wrong("ids", f"{len(ids):,} of them", f"{MOST_EXPORTED:,} at most")
    return ids


def _loosely(content: bytes) -> Any:
    """As Python reads it: with NaN, lone surrogates and numbers of any length."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise wrong("the body", "no JSON", f"an object of JSON ({error})") from error


def _term(body: Body) -> tuple[SearchTerm, float]:
    """The query of a body: the first that is not empty; and the length of an embedding."""
    for name in ("text", "image", "image_url"):
        value = body.get(name)
        if not value:
            continue
        if not isinstance(value, str):
            raise wrong(name, repr(value)[:100], "a text")
        if name == "text" and not value.strip():
            raise wrong(name, "white space", "some words")
        if name == "image" and value.startswith("data:"):
            raise wrong(name, "a data: url", "base64 alone")
        # More than the model reads is cut off, as it is there.
        query = {name: value[:MOST_TEXT] if name == "text" else value}
        return SearchTerm.model_validate(query), 1
    embedding = body.get("embedding_input")
    if not embedding:
        raise wrong("the query", "none", "text, image, image_url or embedding_input")
    return _embedding(embedding)


def _embedding(embedding: Any) -> tuple[SearchTerm, float]:
    is_list = isinstance(embedding, list) and len(embedding) <= MOST_NUMBERS
    if not is_list or not all(type(one) in (int, float) for one in embedding):
        raise wrong("embedding_input", repr(embedding)[:100], "a list of numbers")
    try:
        vector = np.array(embedding, np.float64)
    except OverflowError as error:
        raise wrong("embedding_input", "a number too large", "numbers") from error
    scale = float(np.linalg.norm(vector))
    if not scale:
        # No direction is as good as any other: similarities are 0.
        vector[0] = 1.0
    return SearchTerm.model_construct(embedding=vector.tolist()), scale


def _check_given(body: Body, *names: str) -> None:
    for name in names:
        if name not in body:
            raise wrong(name, "nothing", "a value")


def _whole(body: Body, name: str) -> int:
    value = body[name]
    if type(value) is not int:
        raise wrong(name, repr(value)[:100], "a whole number")
    return value


def _number(body: Body, name: str) -> float | None:
    """A number where one may stand; None for an empty text."""
    value = body.get(name, "")
    if value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong(name, repr(value)[:100], "a number, or an empty text") from error
    if not abs(number) <= MOST_WEIGHT:
        raise wrong(name, repr(value)[:100], f"at most {MOST_WEIGHT:g}")
    return number


def wrong(where: str, found: str, expected: str) -> RefusalError:
    """What is said of a request that cannot be."""
    return RefusalError(400, where, found, expected, "Correct the request.")
