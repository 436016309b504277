"""A client of ``clip-assets serve``, for programs: one that waits, and one for asyncio.

Needs httpx and numpy alone. What the fields mean is said by docs/service.md; the service itself is
the package ``service``.
"""

import asyncio
import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import httpx
import numpy as np
import numpy.typing as npt

from clip_assets.errors import ClipAssetsError

URL = "http://127.0.0.1:1234"

TRIES = 4
"""Times that a service which is busy is asked, with the pauses that it asks for."""

LONGEST_PAUSE_S = 30.0


class ServiceError(ClipAssetsError):
    """A service refused a request.

    Args:
        status: of HTTP.
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
        """As a request holds it."""
        told: dict[str, Any] = {"weight": self.weight}
        for name in ("text", "image_url", "uid"):
            if getattr(self, name) is not None:
                told[name] = getattr(self, name)
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


Terms = str | QueryTerm | Sequence[QueryTerm]
"""A text, a term, or several."""


class Client:
    """A client that waits for answers; close it, or use it as a context.

    Args:
        url: of the service.
        token: that it asks for, if it does.
        timeout_s: for an answer.
    """

    def __init__(self, url: str = URL, token: str | None = None, timeout_s: float = 60) -> None:
        self._http = httpx.Client(base_url=url, headers=_bearing(token), timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def indices(self) -> list[dict[str, Any]]:
        """What is hosted."""
        return self._answer("GET", "/v1/indices").json()["indices"]

    def search(self, terms: Terms, k: int = 40, **options: Any) -> Results:
        """The pairs nearest to a query; options are fields of the request, such as ``where``.

        Raises:
            ServiceError: the service refused.
        """
        return _results(self._answer("POST", "/v1/search", _body(terms, k, options)).json())

    def item(self, uid: str, index: str | None = None) -> dict[str, Any]:
        """All columns of a pair."""
        return self._answer("GET", f"/v1/items/{uid}{_named(index)}").json()

    def image(self, uid: str, size: int | None = None, index: str | None = None) -> bytes:
        """The stored image of a pair; with ``size`` a thumbnail of at least so many pixels."""
        return self._answer("GET", f"/v1/images/{uid}{_named(index, size)}").content

    def subset(self, terms: Terms, k: int = 1_000, **options: Any) -> bytes:
        """The pairs nearest to a query as a file; ``format`` is npy, parquet or urls."""
        return self._answer("POST", "/v1/subsets", _body(terms, k, options)).content

    def embeddings(self, texts: Sequence[str], index: str | None = None) -> npt.NDArray[np.float32]:
        """Vectors of texts, (len(texts), dim)."""
        body = {"texts": list(texts), "index": index}
        return np.load(io.BytesIO(self._answer("POST", "/v1/embeddings", body, _NPY).content))

    def _answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        for _ in range(TRIES - 1):
            answer = self._http.request(method, path, json=body, headers=headers)
            pause_s = _pause_s(answer)
            if pause_s is None:
                return _checked(answer)
            time.sleep(pause_s)
        return _checked(self._http.request(method, path, json=body, headers=headers))


class AsyncClient:
    """The same for asyncio."""

    def __init__(self, url: str = URL, token: str | None = None, timeout_s: float = 60) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_bearing(token), timeout=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def indices(self) -> list[dict[str, Any]]:
        """What is hosted."""
        return (await self._answer("GET", "/v1/indices")).json()["indices"]

    async def search(self, terms: Terms, k: int = 40, **options: Any) -> Results:
        """As ``Client.search``."""
        return _results((await self._answer("POST", "/v1/search", _body(terms, k, options))).json())

    async def item(self, uid: str, index: str | None = None) -> dict[str, Any]:
        """As ``Client.item``."""
        return (await self._answer("GET", f"/v1/items/{uid}{_named(index)}")).json()

    async def image(self, uid: str, size: int | None = None, index: str | None = None) -> bytes:
        """As ``Client.image``."""
        return (await self._answer("GET", f"/v1/images/{uid}{_named(index, size)}")).content

    async def subset(self, terms: Terms, k: int = 1_000, **options: Any) -> bytes:
        """As ``Client.subset``."""
        return (await self._answer("POST", "/v1/subsets", _body(terms, k, options))).content

    async def embeddings(
        self, texts: Sequence[str], index: str | None = None
    ) -> npt.NDArray[np.float32]:
        """As ``Client.embeddings``."""
        body = {"texts": list(texts), "index": index}
        answer = await self._answer("POST", "/v1/embeddings", body, _NPY)
        return np.load(io.BytesIO(answer.content))

    async def _answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        for _ in range(TRIES - 1):
            answer = await self._http.request(method, path, json=body, headers=headers)
            pause_s = _pause_s(answer)
            if pause_s is None:
                return _checked(answer)
            await asyncio.sleep(pause_s)
        return _checked(await self._http.request(method, path, json=body, headers=headers))


_NPY = {"accept": "application/x-npy"}


def _bearing(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _body(terms: Terms, k: int, options: Mapping[str, Any]) -> dict[str, Any]:
    asked = [QueryTerm(text=terms)] if isinstance(terms, str) else terms
    several = [asked] if isinstance(asked, QueryTerm) else asked
    return {"terms": [term.as_json() for term in several], "k": k, **options}


def _named(index: str | None, size: int | None = None) -> str:
    given = {"index": index, "size": size}
    query = httpx.QueryParams({name: value for name, value in given.items() if value is not None})
    return f"?{query}" if query else ""


def _pause_s(answer: httpx.Response) -> float | None:
    """Seconds until a service that is busy may be asked again; None: take the answer."""
    again = answer.headers.get("retry-after", "")
    if answer.status_code not in (429, 503) or not again.isdecimal():
        return None
    return min(float(again), LONGEST_PAUSE_S)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        told = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        told = {"where": str(answer.url), "found": f"status {answer.status_code}"}
    raise ServiceError(answer.status_code, told)


def _results(told: Mapping[str, Any]) -> Results:
    kept = {each.name for each in fields(Results)} - {"results"}
    return Results(
        results=[_result(one) for one in told["results"]], **{name: told[name] for name in kept}
    )


def _result(told: Mapping[str, Any]) -> Result:
    names = {each.name for each in fields(Result)} - {"columns"}
    own = {name: value for name, value in told.items() if name in names}
    return Result(**own, columns={k: v for k, v in told.items() if k not in names})
