"""Servers on loopback that speak the protocols of buckets and of the hub.

Those of buckets are the emulators that the protocols' own users test with; the hub's answers
what its documented interface says for listing, looking at and fetching files of data sets.
"""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import fsspec

BUCKET = "bucket"
PAGE_ENTRIES = 3


def free_port() -> int:
    """One of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CONNECTIONS_WAITING = 256
"""A server takes so many that it has not looked at yet. Of more than the 5 of Python's library the
kernel drops some, which are tried again after 1, 3 and 7 seconds: too late for a client that waits
five for its connection."""


class WebServer(ThreadingHTTPServer):
    """Answers many at once, on a free port of loopback."""

    request_queue_size = CONNECTIONS_WAITING

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to a server and counts the bytes that it sends."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_WAITING

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target_port = target_port
        self.sent_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target_port)) as target:
            threading.Thread(target=_pass_on, args=(self.request, target), daemon=True).start()
            try:
                while data := target.recv(1 << 16):
                    self.server.sent_bytes += len(data)
                    self.request.sendall(data)
            except OSError:
                pass


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Generator[None]:
    """Run a server for the time of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def google_storage() -> Generator[Relay]:
    """An emulator of Google Cloud Storage with one bucket."""
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    objects._multipart_upload = _conditional(objects._multipart_upload)
    emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    emulator.start()
    relay = Relay(emulator._api._httpd.server_port)
    with serving(relay):
        yield relay
    emulator.stop()


def _conditional(upload: Callable[..., None]) -> Callable[..., None]:
    """The upload of the emulator, which does not know conditions, with the one that we use."""

    def only_if_new(request: Any, response: Any, storage: Any) -> None:
        bucket, name = request.params["bucket_name"], request.data["meta"]["name"]
        is_new_wanted = request.query.get("ifGenerationMatch") == ["0"]
        if is_new_wanted and storage.get_file_list(bucket, prefix=name)[0]:
            response.status = HTTPStatus.PRECONDITION_FAILED
        else:
            upload(request, response, storage)

    return only_if_new


@contextmanager
def s3() -> Generator[Relay]:
    """moto's server, with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    emulator = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    emulator.start()
    relay = Relay(emulator.get_host_and_port()[1])
    with serving(relay):
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=relay.url, **keys).create_bucket(Bucket=BUCKET)
        yield relay
    emulator.stop()


@dataclass(frozen=True)
class Bucket:
    """An empty folder of a bucket.

    Args:
        url: of the folder.
        relay: counts what its server sends.
    """

    url: str
    relay: Relay

    def put(self, name: str, content: bytes) -> str:
        """A file with this content; returns its url."""
        fs, path = fsspec.url_to_fs(f"{self.url}/{name}", use_listings_cache=False)
        fs.pipe_file(path, content)
        return f"{self.url}/{name}"


@dataclass
class Hub:
    """What a hub has: files by data set, ``owner/name``, and their paths; and how it behaves.

    Args:
        store_url: of the server that it sends requests for files on to; by default itself.
        lasts_s: so long the addresses hold that it sends on to.
        clock_s: how fast its clock is.
        refused: requests for addresses that had ended.
        too_much: bytes that it sends behind each part of a file.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    requests: list[str] = field(default_factory=list[str])
    url: str = ""
    token: str = ""
    latency_s: float = 0
    knows_ranges: bool = True
    sent_bytes: int = 0
    store_url: str = ""
    lasts_s: float = 3_600
    clock_s: float = 0
    refused: int = 0
    too_much: int = 0
    authorizations: set[str] = field(default_factory=set[str])

    def has_ended(self, query: dict[str, list[str]]) -> bool:
        """Whether an address that one was sent on to holds no more."""
        return float(query.get("Expires", ["inf"])[0]) < time.time() + self.clock_s


@contextmanager
def hub() -> Generator[Hub]:
    """A hub of data sets; listings come in pages of ``PAGE_ENTRIES``, files from elsewhere."""
    found = Hub()
    server = WebServer(type("Handler", (_HubHandler,), {"hub": found}))
    found.url = server.url
    with serving(server):
        yield found


class _HubHandler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"GET {self.path} {self.headers.get('Range') or ''}".strip())
        self.hub.authorizations.add(self.headers.get("Authorization", ""))
        time.sleep(self.hub.latency_s)
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.send("{}", 401)
            return
        place, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        kind, *parts = unquote(place.path).strip("/").split("/")
        if kind == "api":
            self.answer_api("/".join(parts[1:3]), parts[3:], query)
        elif kind == "datasets":  # <owner>/<name>/resolve/<revision>/<path>
            place = f"{self.hub.store_url}/stored/{quote('/'.join([*parts[:2], *parts[4:]]))}"
            ends = time.time() + self.hub.lasts_s
            self.send("", 302, Location=f"{place}?Expires={ends}&Signature=signed")
        elif self.hub.has_ended(query):
            self.hub.refused += 1
            self.send("ended", 403)
        else:
            self.send_file("/".join(parts[:2]), "/".join(parts[2:]))

    def answer_api(self, dataset: str, parts: list[str], query: dict[str, list[str]]) -> None:
        """Of a data set: itself, or a page of the tree below a folder."""
        files = self.hub.files.get(dataset)
        if files is None:
            self.send("{}", 404, **{"X-Error-Code": "RepoNotFound"})
        elif parts[:1] != ["tree"]:
            self.send(json.dumps({"id": dataset, "sha": "0" * 40, "tags": [], "siblings": []}))
        else:
            is_deep = query.get("recursive", ["false"])[0].lower() == "true"
            entries = list(_entries(files, "/".join(parts[2:]), is_deep))
            if not entries and parts[2:]:
                self.send("{}", 404, **{"X-Error-Code": "EntryNotFound"})
                return
            start = int(query.get("cursor", ["0"])[0])
            stop = start + PAGE_ENTRIES
            further = f"{self.hub.url}{urlsplit(self.path).path}?recursive={is_deep}&cursor={stop}"
            links = {"Link": f'<{further}>; rel="next"'} if stop < len(entries) else {}
            self.send(json.dumps(entries[start:stop]), **links)

    def send_file(self, dataset: str, path: str) -> None:
        content = self.hub.files.get(dataset, {}).get(path)
        if content is None:
            self.send("{}", 404, **{"X-Error-Code": "EntryNotFound"})
        elif (asked := self.headers.get("Range")) and self.hub.knows_ranges:
            first, part = part_of(content, asked)
            place = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            part += bytes(self.hub.too_much)
            self.send(part, 206, **{"Content-Range": place, "ETag": _etag(content)})
        else:
            can = {"Accept-Ranges": "bytes"} if self.hub.knows_ranges else {}
            self.send(content, **can, ETag=_etag(content))

    def send(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.hub.sent_bytes += len(content)
            self.wfile.write(content)


def _entries(files: dict[str, bytes], folder: str, is_deep: bool) -> Iterator[dict[str, Any]]:
    """The hub's description of what is below a folder of a data set."""
    base = f"{folder}/" if folder else ""
    seen = set[str]()
    for path, content in sorted(files.items()):
        if not path.startswith(base):
            continue
        steps = path.removeprefix(base).split("/")
        for depth in range(1, len(steps) if is_deep else min(len(steps), 2)):
            name = base + "/".join(steps[:depth])
            if name not in seen:
                seen.add(name)
                yield {"type": "directory", "path": name, "oid": _oid(name.encode()), "size": 0}
        if is_deep or len(steps) == 1:
            yield {"type": "file", "path": path, "oid": _oid(content), "size": len(content)}


def part_of(content: bytes, asked: str) -> tuple[int, bytes]:
    """Where a part begins that the header ``Range`` asks for, and the part."""
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(content) - int(last))
    stop = int(last) + 1 if first and last else len(content)
    return start, content[start:stop]


@lru_cache(maxsize=32)
def _etag(content: bytes) -> str:
    return f'"{_oid(content)}"'


def _oid(content: bytes) -> str:
    return sha1(content).hexdigest()
