"""Tokens, rates, bombs, slow and many clients: what a service is asked for nothing good."""

import json
import resource
import socket
import struct
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits import slow_clients
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.rates import Rates
from clip_assets.service.limits.slow_clients import TimedProtocol
from clip_assets_tests.service.conftest import (
    Served,
    error,
    pool_of_animals,
    search,
    serving,
    uid_of,
)


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    hosting = Hosting([HostedIndex("animals", pool_of_animals(tmp_path).pool)])
    with serving(hosting, Offer(token="secret")) as served:
        for given in ({}, {"authorization": "Bearer secre"}, {"authorization": "Basic secret"}):
            error(served.http.get("/v1/indices", headers=given), 401)
            assert served.http.post("/knn-service", json={}, headers=given).status_code == 401
        right = {"authorization": "Bearer secret"}
        assert served.http.get("/v1/indices", headers=right).status_code == 200
        for open_to_all in ("/health", "/", "/page/main.js"):
            assert served.http.get(open_to_all).status_code == 200


def test_a_browser_signs_in_once(tmp_path: Path) -> None:
    hosting = Hosting([HostedIndex("animals", pool_of_animals(tmp_path).pool)])
    with serving(hosting, Offer(token="secret")) as served:
        error(served.http.post("/v1/session", headers={"authorization": "Bearer secre"}), 401)
        error(served.http.get("/v1/indices", headers={"cookie": "clip_assets=secret"}), 401)
        answer = served.http.post("/v1/session", headers={"authorization": "Bearer secret"})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= {*cookie.split("; ")}
        assert "secret" not in cookie
        assert served.http.get("/v1/indices").status_code == 200
        assert served.http.delete("/v1/session").status_code == 204
        error(served.http.get("/v1/indices"), 401)


def test_a_client_that_asks_too_often_waits(tmp_path: Path) -> None:
    hosting = Hosting([HostedIndex("animals", pool_of_animals(tmp_path).pool)])
    with serving(hosting, Offer(per_second=0.02)) as served:
        assert served.http.get("/v1/indices").status_code == 200
        answer = served.http.get("/v1/indices")
        error(answer, 429)
        assert int(answer.headers["retry-after"]) > 10
    rates = Rates(0.001)
    assert [rates.wait_s("a") > 0 for _ in range(3)] == [False, True, True]
    assert rates.wait_s("b") == 0


def png(width: int, height: int) -> bytes:
    """One bit a pixel: many pixels in few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(((width + 7) // 8 + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def upload(served: Served, content: bytes) -> httpx.Response:
    request = {"request": '{"terms": [{"upload": "image0"}]}'}
    return served.http.post("/v1/search", data=request, files={"image0": content})


def test_images_of_clients_are_decoded_within_bounds(encoder: Encoder, tmp_path: Path) -> None:
    from clip_assets_tests.service.conftest import RealImages

    made = pool_of_animals(tmp_path, lambda: RealImages(encoder))
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        assert upload(served, png(1, 1)).status_code == 200
        assert "too large" in error(upload(served, png(20_000, 20_000)), 400)["found"]
        for content in (b"GIF89a", b"", png(40, 40)[:45], b"<svg/>"):
            error(upload(served, content), 400)


def test_a_client_that_never_ends_its_request_stops_nobody(animals: Served) -> None:
    host, port = animals.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(200):
            slow = stack.enter_context(socket.create_connection((host, int(port))))
            slow.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert search(animals, {"text": "cat"})["results"]


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: x",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n{",
        # Refused as soon as its head is there, and its body goes on coming.
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
    ],
    ids=["nothing", "head", "body", "refused", "second"],
)
def test_a_client_that_is_slow_for_ever_is_let_go(
    animals: Served, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(TimedProtocol, "patience_s", 0.2)
    host, port = animals.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=0.05) as slow:
        slow.sendall(begun)
        told = b""
        with suppress(ConnectionError):  # once it is closed
            while True:
                with suppress(TimeoutError):
                    got = slow.recv(4096)
                    if not got:
                        break
                    told += got
                slow.sendall(b"a" if begun else b"")
    assert b"HTTP/1.1 408 " in told or b"HTTP/1.1 413 " in told


def test_a_body_that_goes_on_coming_is_waited_for(
    animals: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimedProtocol, "patience_s", 0.2)
    monkeypatch.setattr(slow_clients, "SLOWEST_BYTES_S", 100)
    host, port = animals.url.removeprefix("http://").split(":")
    head = f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2100\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(head.encode() + b" " * 2000)
        time.sleep(1)  # five times its patience, a twentieth of what it earned
        slow.sendall(b" " * 100)
        assert slow.recv(4096).startswith(b"HTTP/1.1 422 ")


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose answers wait in it, and not in the system, until they are taken."""
    made = pool_of_animals(tmp_path_factory.mktemp("tight"))
    with serving(Hosting([HostedIndex("animals", made.pool)]), system_bytes=4096) as served:
        yield served


@contextmanager
def unread(served: Served, connection: str) -> Generator[socket.socket]:
    """A client that has asked for 30,000 urls, 500 KB, and has taken a few bytes."""
    host, port = served.url.removeprefix("http://").split(":")
    body = json.dumps({"format": "urls", "uids": [uid_of("cat")] * 30_000})
    head = f"POST /v1/subsets HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect((host, int(port)))
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        yield client


def is_served(client: socket.socket) -> bool:
    """Whether a client's connection is still a file of the service, which is of this process."""
    own = psutil.Process().net_connections("tcp")
    return client.getsockname() in [tuple(one.raddr) for one in own]


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_client_that_takes_no_answer_is_let_go(
    tight: Served, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    monkeypatch.setattr(TimedProtocol, "patience_s", 0.4)
    hosted = tight.hosting.get(None)
    with unread(tight, connection) as client:
        while is_served(client):
            time.sleep(0.05)
        with hosted.opened() as opened:
            while opened.users > 1:
                time.sleep(0.05)


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    tight: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimedProtocol, "patience_s", 2)
    begun_s = time.monotonic()
    with unread(tight, "close") as client:
        got = client.recv(4096)
        while time.monotonic() < begun_s + 3:  # longer than it may take nothing
            time.sleep(0.05)
            got += client.recv(4096)
        assert is_served(client)
        while more := client.recv(2**16):
            got += more
    assert got.endswith(b"\r\n0\r\n\r\n")
    assert got.count(b"http://h/00000/0\n") == 30_000


def test_a_thousand_connections_are_taken(animals: Served) -> None:
    host, port = animals.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(socket.create_connection((host, int(port))))
        assert search(animals, {"text": "cat"})["results"]


def test_connections_beyond_a_share_of_files_are_refused_at_once(
    animals: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "SHARE_OF_FILES", 30 / slow_clients.files())
    host, port = animals.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(40)
        ]
        told = [client.makefile("rb").read() for client in clients[30:]]
    assert all(one.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5" in one for one in told)
    while True:  # until the service has seen that the others are gone
        with suppress(httpx.TransportError):
            if animals.http.get("/health").status_code == 200:
                break


def test_as_many_files_are_allowed_as_may_be() -> None:
    most, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most - 1, allowed))
    try:
        slow_clients.allow_many_files()
        assert slow_clients.files() >= most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))


@pytest.mark.parametrize("where", ["regexp_matches(repeat('a', 30), '(a+)+b')", "sleep(99)"])
def test_a_condition_that_never_ends_is_refused(animals: Served, where: str) -> None:
    body = {"terms": [{"text": "cat"}], "where": where}
    error(animals.http.post("/v1/search", json=body), 400)


def test_a_model_that_is_missing_keeps_embeddings_and_pairs(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path).served_by(missing)
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        body = {"terms": [{"text": "cat"}]}
        assert "no such" in error(served.http.post("/v1/search", json=body), 503)["found"]
        assert search(served, {"embedding": [1.0] * 24})["results"]
        assert served.http.get("/ready").json()["indices"][0]["model"] == "failed"


def missing() -> Encoder:
    from clip_assets.errors import ModelLoadError

    raise ModelLoadError("model.pt", "no such file", "weights", "Put it back.")
