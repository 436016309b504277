"""The client says what the service found, waits when it is busy, and raises what it refuses."""

import asyncio
import io
import json
import threading
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image

from clip_assets.client import AsyncClient, Client, QueryTerm, ServiceError
from clip_assets.errors import ConfigurationError
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.servers import WebServer, free_port, serving
from clip_assets_tests.service.conftest import Served, animals, one_thread, uid_of

__all__ = ["animals", "one_thread"]

TERMS = [QueryTerm(text="cat"), QueryTerm(uid=uid_of("dog"), weight=-0.5)]


def test_searches_give_typed_results(animals: Served) -> None:
    with Client(animals.url) as client:
        assert client.indices()[0]["name"] == "animals"
        answer = client.search(TERMS, k=3, columns=["language"], facets=True)
        first = answer.results[0]
        assert (first.caption, first.columns["language"], len(first.contributions)) == (
            "cat", "de", 2,
        )  # fmt: skip
        assert answer.facets is not None
        assert client.search(["cat", TERMS[1]], k=3).results[0].uid == first.uid
        assert client.search(QueryTerm(image=b"fox"), k=1).results[0].caption == "fox"
        vector = client.embeddings(["hen"])[0]
        assert vector == pytest.approx(WordEncoder().encode_text(["hen"])[0].astype(np.float32))
        assert client.search(QueryTerm(embedding=vector), k=1).results[0].caption == "hen"
        assert client.item(uid_of("cow"), index="animals")["caption"] == "cow"
        assert Image.open(io.BytesIO(client.image(uid_of("cow"), size=64))).size == (64, 32)
        assert len(np.load(io.BytesIO(client.subset("cat", k=2)))) == 2
        # More than one request takes.
        many = client.search_many([*["cat", TERMS] * 100, "hen"], k=2, where="language = 'en'")
        assert [len(found) for found in many] == [2] * 201
        assert many[1] == client.search(TERMS, k=2, where="language = 'en'").results
        assert (many[198], many[199]) == (many[0], many[1]) != (many[1], many[0])
        with pytest.raises(ServiceError, match="a pair of version") as refused:
            client.item("f" * 32)
        assert refused.value.status == 404


def test_what_is_no_query_is_refused_before_it_is_sent() -> None:
    client = Client("http://127.0.0.1:1")
    for terms, told in (
        (None, r"terms: found None, expected a list"),
        ([5], r"terms: found 5, expected texts and terms"),
        (b"fox", r"expected a list. Write \[b'fox'\]"),
        (QueryTerm(image="fox.jpg"), r"Path\(...\).read_bytes\(\)"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(ConfigurationError, match=told):
            client.search(terms)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match=r"queries: found 'ab', expected a list"):
        client.search_many("ab")
    with pytest.raises(ConfigurationError, match=r"texts: found 'ab', expected a list"):
        client.embeddings("ab")


def test_the_same_for_asyncio(animals: Served) -> None:
    async def ask() -> None:
        async with AsyncClient(animals.url) as client:
            found, others = await asyncio.gather(client.search(TERMS), client.search("fox", k=1))
            assert (found.results[0].caption, others.results[0].caption) == ("cat", "fox")
            assert (await client.indices())[0]["name"] == "animals"
            assert (await client.item(uid_of("cow")))["caption"] == "cow"
            assert (await client.embeddings(["a", "b"])).shape == (2, 24)
            assert await client.image(uid_of("cow"))
            assert await client.subset("cat", k=2)
            [[cat], [fox]] = await client.search_many(["cat", "fox"], k=1)
            assert (cat.caption, fox.caption) == ("cat", "fox")
            with pytest.raises(ServiceError):
                await client.search([])

    asyncio.run(ask())


def test_a_service_that_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    async def ask() -> None:
        async with AsyncClient(url) as client:
            await client.indices()

    with Client(url) as client, pytest.raises(ServiceError, match=url) as refused:
        client.indices()
    assert refused.value.status == 0
    with pytest.raises(ServiceError, match="clip-assets serve"):
        asyncio.run(ask())


class _Busy(BaseHTTPRequestHandler):
    """Is busy twice."""

    left = 2

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        type(self).left -= 1
        is_busy = type(self).left >= 0
        body = json.dumps({"indices": []}).encode()
        self.send_response(503 if is_busy else 200)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_service_that_is_busy_is_asked_again() -> None:
    server = WebServer(_Busy)
    with serving(server), Client(server.url) as client:
        assert client.indices() == []
        assert _Busy.left == -1
        assert threading.active_count() > 1
