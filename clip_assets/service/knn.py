"""What ``/knn-service`` and ``/metadata`` of clip-retrieval ask for, and how they answer.

Fields and their meanings are those of its back, release 2.45; what it fails on with status 500 is
refused with a reason. The endpoints are in ``clipback``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_assets.layout import SIDES
from clip_assets.retrieval.queries import unit
from clip_assets.retrieval.served_side import Floats, Ids
from clip_assets.service.finding import Finder, Took
from clip_assets.service.hosted import OpenVersion
from clip_assets.service.refusals import RefusalError
from clip_assets.service.searching import Searching
from clip_assets.service.visible import Visible
from clip_assets.service.wire import (
    MOST_EXPORTED,
    MOST_NUMBERS,
    MOST_TEXT,
    SearchRequest,
    SearchTerm,
)

ALIKE = 0.94
"""Cosine above which it takes two results for duplicates."""

RETURNED = {"url": "url", "image_path": "image_path", "caption": "caption", "NSFW": "nsfw"}
"""Columns that it returns unless it is told others, and ours."""

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
    """

    index: str | None
    term: SearchTerm
    scale: float
    is_unknown: bool
    side: str
    with_rows: int
    results: int
    deduplicate: bool

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


def knn(body: Body) -> KnnRequest:
    """What a body asks for.

    Raises:
        RefusalError: it cannot be.
    """
    _check_given(body, "modality", "num_images", "indice_name")
    with_rows = _whole(body, "num_images")
    results = _whole(body, "num_result_ids") if "num_result_ids" in body else with_rows
    if not 1 <= results <= MOST_EXPORTED:
        raise _wrong("num_result_ids", str(results), f"1 to {MOST_EXPORTED:,}")
    if body.get("use_mclip"):
        raise _wrong("use_mclip", "a multilingual model that is asked for", "the index's own model")
    for name in ("aesthetic_score", "aesthetic_weight"):
        _check_number(body, name)
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
    )


def index_name(body: Body) -> str | None:
    """The index that a body names; empty and null are the first one.

    Raises:
        RefusalError: it is no text.
    """
    _check_given(body, "indice_name")
    name = body["indice_name"]
    if name is not None and not isinstance(name, str):
        raise _wrong("indice_name", repr(name)[:100], "a name, or null")
    return name or None


def ids_of(body: Body) -> list[int]:
    """Vector ids that a body asks for.

    Raises:
        RefusalError: they are no numbers, or too many.
    """
    ids = body.get("ids")
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        raise _wrong("ids", repr(ids)[:100], "a list of whole numbers")
    if len(ids) > MOST_EXPORTED:
        raise _wrong("ids", f"{len(ids):,} of them", f"{MOST_EXPORTED:,} at most")
    return ids


def _term(body: Body) -> tuple[SearchTerm, float]:
    """The query of a body: the first that is not empty; and the length of an embedding."""
    for name in ("text", "image", "image_url"):
        value = body.get(name)
        if not value:
            continue
        if not isinstance(value, str):
            raise _wrong(name, repr(value)[:100], "a text")
        if name == "text" and not value.strip():
            raise _wrong(name, "white space", "some words")
        if name == "image" and value.startswith("data:"):
            raise _wrong(name, "a data: url", "base64 alone")
        # More than the model reads is cut off, as it is there.
        query = {name: value[:MOST_TEXT] if name == "text" else value}
        return SearchTerm.model_validate(query), 1
    embedding = body.get("embedding_input")
    if not embedding:
        raise _wrong("the query", "none", "text, image, image_url or embedding_input")
    return _embedding(embedding)


def _embedding(embedding: Any) -> tuple[SearchTerm, float]:
    is_list = isinstance(embedding, list) and len(embedding) <= MOST_NUMBERS
    if not is_list or not all(type(one) in (int, float) for one in embedding):
        raise _wrong("embedding_input", repr(embedding)[:100], "a list of numbers")
    try:
        vector = np.array(embedding, np.float64)
    except OverflowError as error:
        raise _wrong("embedding_input", "a number too large", "numbers") from error
    scale = float(np.linalg.norm(vector))
    if not scale:
        # No direction is as good as any other: similarities are 0.
        vector[0] = 1.0
    return SearchTerm.model_construct(embedding=vector.tolist()), scale


def _check_given(body: Body, *names: str) -> None:
    for name in names:
        if name not in body:
            raise _wrong(name, "nothing", "a value")


def _whole(body: Body, name: str) -> int:
    value = body[name]
    if type(value) is not int:
        raise _wrong(name, repr(value)[:100], "a whole number")
    return value


def _check_number(body: Body, name: str) -> None:
    """Refuse what is no number where one may stand; there is no model that it would be of."""
    value = body.get(name, "")
    if value == "":
        return
    try:
        float(value)
    except (TypeError, ValueError) as error:
        raise _wrong(name, repr(value)[:100], "a number, or an empty text") from error


class KnnAnswers:
    """Answers in clip-retrieval's form.

    Args:
        searching: what searches.
    """

    def __init__(self, searching: Searching) -> None:
        self._searching = searching
        self._visible = searching.visible

    async def knn(self, request: KnnRequest, took: Took) -> list[dict[str, Any]]:
        """Results: metadata, id and similarity; those beyond ``with_rows`` without metadata.

        Raises:
            ClipAssetsError: as searches do.
        """
        index = self._searching.hosting.get(request.index)
        if request.is_unknown:
            return []
        with index.opened() as opened:
            with took.step("encode"):
                asked, vectors = await self._searching.vectors(index, opened, [request.term], {})
            if isinstance(asked[0], np.ndarray):
                vectors = [unit(asked[0], opened.searcher.version.dim)]

            def search() -> list[dict[str, Any]]:
                finder = Finder(opened, request.search, self._visible, took)
                ids, similarities = finder.ranked(asked, vectors)
                return self._results(opened, ids, similarities * request.scale, request, took)

            return await self._searching.turns.do(search)

    async def metadata(self, name: str | None, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Metadata of some ids, in their order.

        Raises:
            RefusalError: there is no such index or id.
        """
        if not ids:
            return []
        index = self._searching.hosting.get(name)
        with index.opened() as opened:
            version = opened.searcher.version
            total = version.slots[-1].start + version.slots[-1].count if version.slots else 0
            for one in ids:
                if not 0 <= one < total:
                    raise _wrong("ids", str(one), f"ids from 0 to {total - 1:,}")

            def read() -> list[dict[str, Any]]:
                return _rows(opened, np.array(ids, np.int64), self._visible)

            rows = await self._searching.turns.do(read)
        return [{"id": one, "metadata": row} for one, row in zip(ids, rows, strict=True)]

    def _results(
        self, opened: OpenVersion, ids: Ids, similarities: Floats, request: KnnRequest, took: Took
    ) -> list[dict[str, Any]]:
        with took.step("rows"):
            rows = _rows(opened, ids[: request.with_rows], self._visible)
        rows += [{} for _ in range(len(ids) - len(rows))]
        return [
            row | {"id": one, "similarity": similarity}
            for row, one, similarity in zip(rows, ids.tolist(), similarities.tolist(), strict=True)
        ]


def _rows(opened: OpenVersion, ids: Ids, visible: Visible) -> list[dict[str, Any]]:
    """Metadata of ids under the names there; what is null is left out."""
    if not len(ids):
        return []
    own = [name for name in ("url", "image_path", "caption") if visible.may(name)]
    table = opened.searcher.rows(ids, own)
    columns = {name: table[name].to_pylist() for name in own}
    if visible.may("nsfw"):
        columns["nsfw"] = opened.columns.table(ids, ["nsfw"])["nsfw"].to_pylist()
    return [
        {
            name: columns[column][place]
            for name, column in RETURNED.items()
            if column in columns and columns[column][place] is not None
        }
        for place in range(len(ids))
    ]


def _wrong(where: str, found: str, expected: str) -> RefusalError:
    return RefusalError(400, where, found, expected, "Correct the request.")
