"""Asking a service: one client that waits, and one for asyncio.

What is asked for and answered is in ``found``.
"""

import asyncio
import io
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx
import numpy as np
import numpy.typing as npt

from clip_assets.client.found import (
    Result,
    Results,
    Terms,
    answering,
    batch_bodies,
    checked,
    result_of,
    results_of,
    search_body,
    several,
)

URL = "http://127.0.0.1:1234"

TRIES = 4
"""Times that a service which is busy is asked, with the pauses that it asks for."""

LONGEST_PAUSE_S = 30.0


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
            ServiceError: the service refused, or did not answer.
        """
        return results_of(self._answer("POST", "/v1/search", search_body(terms, k, options)).json())

    def search_many(
        self, queries: Sequence[Terms], k: int = 10, **options: Any
    ) -> list[list[Result]]:
        """The pairs nearest to each of many queries, asked for together.

        As many requests are made as the service's bounds need: up to 256 queries or 10,000
        results in one.

        Args:
            queries: of each, a text, a term or several.
            k: results of each.
            options: ``index``, ``side``, ``recall_target``, ``where``, ``columns``.

        Returns:
            For each query its results, best first.

        Raises:
            ServiceError: the service refused, or did not answer.
        """
        results: list[list[Result]] = []
        for body in batch_bodies(queries, k, options):
            told = self._answer("POST", "/v1/search/batch", body).json()["queries"]
            results += [[*map(result_of, query["results"])] for query in told]
        return results

    def item(self, uid: str, index: str | None = None) -> dict[str, Any]:
        """All columns of a pair."""
        return self._answer("GET", f"/v1/items/{uid}{_named(index)}").json()

    def image(self, uid: str, size: int | None = None, index: str | None = None) -> bytes:
        """The stored image of a pair; with ``size`` a thumbnail of at least so many pixels."""
        return self._answer("GET", f"/v1/images/{uid}{_named(index, size)}").content

    def subset(self, terms: Terms, k: int = 1_000, **options: Any) -> bytes:
        """The pairs nearest to a query as a file; ``format`` is npy, parquet or urls."""
        return self._answer("POST", "/v1/subsets", search_body(terms, k, options)).content

    def embeddings(self, texts: Sequence[str], index: str | None = None) -> npt.NDArray[np.float32]:
        """Vectors of texts, (len(texts), dim)."""
        several("texts", texts)
        body = {"texts": list(texts), "index": index}
        return np.load(io.BytesIO(self._answer("POST", "/v1/embeddings", body, _NPY).content))

    def _answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        for _ in range(TRIES - 1):
            answer = self._request(method, path, body, headers)
            pause_s = _pause_s(answer)
            if pause_s is None:
                return checked(answer)
            time.sleep(pause_s)
        return checked(self._request(method, path, body, headers))

    def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        with answering(str(self._http.base_url)):
            return self._http.request(method, path, json=body, headers=headers)


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
        return results_of(
            (await self._answer("POST", "/v1/search", search_body(terms, k, options))).json()
        )

    async def search_many(
        self, queries: Sequence[Terms], k: int = 10, **options: Any
    ) -> list[list[Result]]:
        """As ``Client.search_many``."""
        results: list[list[Result]] = []
        for body in batch_bodies(queries, k, options):
            told = (await self._answer("POST", "/v1/search/batch", body)).json()["queries"]
            results += [[*map(result_of, query["results"])] for query in told]
        return results

    async def item(self, uid: str, index: str | None = None) -> dict[str, Any]:
        """As ``Client.item``."""
        return (await self._answer("GET", f"/v1/items/{uid}{_named(index)}")).json()

    async def image(self, uid: str, size: int | None = None, index: str | None = None) -> bytes:
        """As ``Client.image``."""
        return (await self._answer("GET", f"/v1/images/{uid}{_named(index, size)}")).content

    async def subset(self, terms: Terms, k: int = 1_000, **options: Any) -> bytes:
        """As ``Client.subset``."""
        return (await self._answer("POST", "/v1/subsets", search_body(terms, k, options))).content

    async def embeddings(
        self, texts: Sequence[str], index: str | None = None
    ) -> npt.NDArray[np.float32]:
        """As ``Client.embeddings``."""
        several("texts", texts)
        body = {"texts": list(texts), "index": index}
        answer = await self._answer("POST", "/v1/embeddings", body, _NPY)
        return np.load(io.BytesIO(answer.content))

    async def _answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        for _ in range(TRIES - 1):
            answer = await self._request(method, path, body, headers)
            pause_s = _pause_s(answer)
            if pause_s is None:
                return checked(answer)
            await asyncio.sleep(pause_s)
        return checked(await self._request(method, path, body, headers))

    async def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        with answering(str(self._http.base_url)):
            return await self._http.request(method, path, json=body, headers=headers)


_NPY = {"accept": "application/x-npy"}


def _bearing(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


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
