"""What a client asks for and what it is told: terms, results, refusals.

Asking is the matter of ``clients``.
"""

import base64
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from clip_assets.errors import ClipAssetsError, ConfigurationError

MOST_QUERIES = 256
"""Queries, and terms of them together, that one request takes."""

MOST_OF_BATCH = 10_000
"""Results that one request of many queries takes."""


class ServiceError(ClipAssetsError):
    """A service refused a request, or did not answer.

    Args:
        status: of HTTP; 0 without an answer.
        told: where, found, expected, advice and the request's id.
    """

    def __init__(self, status: int, told: Mapping[str, str]) -> None:
        names = ("where", "found", "expected", "advice")
        ClipAssetsError.__init__(self, *(told.get(name, "not told") for name in names))
        self.args = (status, dict(told))
        self.status = status
        self.request_id = told.get("request_id", "")


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """One part of a query: one of the first five, and its weight; below 0: less like this.

    Args:
        text: words.
        image: content of an image file.
        image_url: where an image is, if the service fetches.
        embedding: of the index's model, (dim,).
        uid: a pair of the index.
        weight: of it.
    """

    text: str | None = None
    image: bytes | None = None
    image_url: str | None = None
    embedding: Sequence[float] | npt.NDArray[np.floating] | None = None
    uid: str | None = None
    weight: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """As a request holds it.

        Raises:
            ConfigurationError: the image is a text.
        """
        told: dict[str, Any] = {"weight": self.weight}
        for name in ("text", "image_url", "uid"):
            if getattr(self, name) is not None:
                told[name] = getattr(self, name)
        if isinstance(self.image, str):
            raise ConfigurationError(
                "image",
                repr(self.image)[:100],
                "the bytes of an image file",
                "Read it: Path(...).read_bytes()",
            )
        if self.image is not None:
            told["image"] = base64.b64encode(self.image).decode()
        if self.embedding is not None:
            told["embedding"] = np.asarray(self.embedding, np.float64).reshape(-1).tolist()
        return told


@dataclass(frozen=True, slots=True)
class Result:
    """A pair that a search found.

    Args:
        uid: the pair.
        id: of its vector in the version.
        similarity: to the query.
        contributions: what each term gave of it.
        url: of the image.
        caption: of the image.
        folded: pairs that are nearly the same: uid, id and similarity of each.
        columns: everything else that was told.
    """

    uid: str
    id: int
    similarity: float
    contributions: list[float | None]
    url: str | None = None
    caption: str | None = None
    folded: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    columns: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Results:
    """What a search found.

    Args:
        index: its name.
        version: of the index.
        results: best first.
        more: whether others follow.
        relevance_ends: the place where they hardly become less similar any more.
        facets: counts of what results are like, if they were asked for.
        took_ms: of each step.
        request_id: as the service's log has it.
    """

    index: str
    version: str
    results: list[Result]
    more: bool
    relevance_ends: int | None
    facets: dict[str, Any] | None
    took_ms: dict[str, float]
    request_id: str


Terms = str | QueryTerm | Sequence[str | QueryTerm]
"""A text, a term, or several of them, which are a mix."""


def search_body(terms: Terms, k: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a search, or of a file of what it finds."""
    return {"terms": _terms(terms), "k": k, **options}


def batch_bodies(
    queries: Sequence[Terms], k: int, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The bodies of as many requests as queries need, in their order."""
    asked: list[dict[str, Any]] = []
    terms = 0
    several("queries", queries)
    most = min(MOST_QUERIES, max(1, MOST_OF_BATCH // max(1, k)))
    for query in map(_terms, queries):
        if asked and (len(asked) == most or terms + len(query) > MOST_QUERIES):
            yield {"queries": asked, "k": k, **options}
            asked, terms = [], 0
        asked.append({"terms": query})
        terms += len(query)
    if asked:
        yield {"queries": asked, "k": k, **options}


def _terms(terms: Terms) -> list[dict[str, Any]]:
    given = [terms] if isinstance(terms, str | QueryTerm) else terms
    several("terms", given)
    asked = [QueryTerm(text=one) if isinstance(one, str) else one for one in given]
    if odd := [one for one in asked if not hasattr(one, "as_json")]:
        raise ConfigurationError(
            "terms",
            repr(odd[0])[:100],
            "texts and terms",
            "Write QueryTerm(image=...).",
        )
    return [term.as_json() for term in asked]


def several(where: str, given: object) -> None:
    """Refuse one thing, and a text of letters, where a list of some belongs.

    Raises:
        ConfigurationError: it is no list.
    """
    if isinstance(given, str | bytes | QueryTerm) or not isinstance(given, Sequence):
        told = repr(given)[:100]
        raise ConfigurationError(where, told, "a list", f"Write [{told}] for this one alone.")


def checked(answer: httpx.Response) -> httpx.Response:
    """An answer that is no refusal.

    Raises:
        ServiceError: it is one.
    """
    if answer.is_success:
        return answer
    try:
        told = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        told = {"where": str(answer.url), "found": f"status {answer.status_code}"}
    raise ServiceError(answer.status_code, told)


def results_of(told: Mapping[str, Any]) -> Results:
    """What a search was answered."""
    kept = {each.name for each in fields(Results)} - {"results"}
    return Results(
        results=[result_of(one) for one in told["results"]], **{name: told[name] for name in kept}
    )


def result_of(told: Mapping[str, Any]) -> Result:
    """One of what was found."""
    names = {each.name for each in fields(Result)} - {"columns"}
    own = {name: value for name, value in told.items() if name in names}
    return Result(**own, columns={k: v for k, v in told.items() if k not in names})


@contextmanager
def answering(url: str) -> Generator[None]:
    """Raise what keeps a service from answering as one of our errors.

    Raises:
        ServiceError: nothing listens, or the connection ended, or it took too long.
    """
    try:
        yield
    except httpx.TransportError as error:
        told = {
            "where": url,
            "found": f"no answer ({str(error) or type(error).__name__})",
            "expected": "a service of clip-assets",
            "advice": "Start it: clip-assets serve POOL; or name another url, or a longer timeout.",
        }
        raise ServiceError(0, told) from error
