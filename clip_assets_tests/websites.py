"""A web server on loopback that has files, and misbehaves as it is told."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from clip_assets_tests.servers import WebServer, part_of, serving


@dataclass
class Site:
    """What the server has, and how it behaves.

    Args:
        files: contents by path.
        etags: of files that are not at their first version.
        authorization: that came with the last request.
        changed_at: of every file, from a server that knows no etags.
        status: other than 200, the answer to everything.
        busy: paths that are answered with 503.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    etags: dict[str, str] = field(default_factory=dict[str, str])
    changed_at: str = ""
    status: int = 200
    busy: set[str] = field(default_factory=set[str])
    requests: list[str] = field(default_factory=list[str])
    knows_ranges: bool = True
    says_bytes_more: int = 0
    head_says_bytes_more: int = 0
    authorization: str = ""
    encoding: str = ""
    answers_slowly: bool = False
    sent_bytes: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stalls: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    """Answers as the site says."""

    site: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        content = self.site.files.get(self.path)
        status = 503 if self.path in self.site.busy else self.site.status
        if status != 200 or content is None:
            self.send_error(404 if status == 200 else status)
            return
        self.site.at_once += 1
        self.site.most_at_once = max(self.site.at_once, self.site.most_at_once)
        if self.site.answers_slowly:
            time.sleep(0.05)
        with suppress(ConnectionError):
            self.send(content)
        self.site.at_once -= 1

    def send(self, content: bytes) -> None:
        site, asked = self.site, self.headers.get("Range")
        site.requests.append(f"{self.command} {self.path} {asked or ''}".strip())
        site.authorization = self.headers.get("Authorization", "")
        status, total, first = 200, len(content), 0
        if asked and site.knows_ranges:
            status, (first, content) = 206, part_of(content, asked)
        self.send_response(status)
        more = site.head_says_bytes_more if self.command == "HEAD" else site.says_bytes_more
        self.send_header("Content-Length", str(len(content) + more))
        if site.encoding:
            self.send_header("Content-Encoding", site.encoding)
        if site.changed_at:
            self.send_header("Last-Modified", site.changed_at)
        else:
            self.send_header("ETag", site.etags.get(self.path, '"1"'))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "x/y")
        if site.knows_ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{total}")
        self.end_headers()
        if self.command == "GET":
            if site.stalls:
                site.stop.wait()
            for start in range(0, len(content), 1 << 16):
                site.sent_bytes += self.wfile.write(content[start : start + (1 << 16)])


@contextmanager
def website() -> Generator[Site]:
    """A server without files, for the time of the block."""
    found = Site()
    handler = type("SiteHandler", (_Handler,), {"site": found})
    server = WebServer(handler)
    found.url = server.url
    with serving(server):
        yield found
        found.stop.set()
