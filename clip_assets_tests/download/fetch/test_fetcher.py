"""Every url ends as a body or as a named failure, and every host is treated with manners."""

import asyncio
import gzip
import ssl
import time
import tracemalloc
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from clip_assets.download.fetch import site_files
from clip_assets.download.fetch.jobs import Job
from clip_assets.download.fetch.odd_answers import CODINGS_LIMIT
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.authority import Authority
from clip_assets_tests.download.fetching import fetch
from clip_assets_tests.download.web import RawWeb, Web

OK = b"HTTP/1.1 200 OK\r\n"


def test_body_arrives_with_its_story(site: Web, settings: DownloadSettings) -> None:
    [found] = fetch([site.serve("/a", b"hello")], settings)

    assert (found.body, found.error_class, found.http_status, found.attempts) == (
        b"hello",
        None,
        200,
        1,
    )
    assert found.final_url == site.url("/a")
    assert site.headers[0]["User-Agent"].startswith("Mozilla/5.0 (compatible; clip_assets/")


def test_contact_is_told_to_site_owners(site: Web, settings: DownloadSettings) -> None:
    contact = settings.model_copy(update={"contact": "https://example.org/bot"})
    fetch([site.serve("/a", b"hello")], contact)

    assert site.headers[0]["User-Agent"].endswith("; +https://example.org/bot)")


def test_connections_to_a_host_are_used_again(site: Web, settings: DownloadSettings) -> None:
    peers = set[object]()

    async def handler(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(body=b"x")

    site.pages = {f"/{i}": handler for i in range(40)}
    one_by_one = settings.model_copy(update={"per_host": 2})
    found = fetch([site.url(f"/{i}") for i in range(40)], one_by_one)

    assert all(one.body == b"x" for one in found)
    assert len(peers) <= 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501])
def test_permanent_errors_are_asked_once(
    site: Web, settings: DownloadSettings, status: int
) -> None:
    [found] = fetch([site.serve("/a", status=status)], settings)

    assert (found.error_class, found.http_status) == (f"http_{status}", status)
    assert site.requests["/a"] == 1


def test_transient_errors_are_asked_again(site: Web, settings: DownloadSettings) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503 if site.requests["/a"] == 1 else 200, body=b"x")

    site.pages["/a"] = handler
    [found] = fetch([site.url("/a")], settings)

    assert (found.body, found.attempts) == (b"x", 2)


def test_attempts_are_limited(site: Web, settings: DownloadSettings) -> None:
    [found] = fetch([site.serve("/a", status=500)], settings)

    assert (found.error_class, found.attempts, site.requests["/a"]) == ("http_500", 2, 2)


def test_a_host_that_asks_for_a_pause_gets_it(site: Web, settings: DownloadSettings) -> None:
    site.serve("/a", status=429, Retry_After="2")
    site.serve("/b", b"x")
    one = settings.model_copy(update={"per_host": 1})
    start = time.monotonic()
    busy, calm = fetch([site.url("/a"), site.url("/b")], one)

    assert busy.error_class == "http_429"
    assert calm.body == b"x"
    assert time.monotonic() - start > 2


def test_a_host_that_asks_for_a_long_pause_is_not_asked_again(
    site: Web, settings: DownloadSettings
) -> None:
    [found] = fetch([site.serve("/a", status=429, Retry_After="3600")], settings)

    assert (found.error_class, site.requests["/a"]) == ("http_429", 1)


def test_a_deadline_is_for_all_attempts_and_pauses(site: Web, settings: DownloadSettings) -> None:
    asked_for = site.serve("/a", status=503, Retry_After="20")
    slow = site.serve("/b", status=503, delay_s=1.5)
    patient = settings.model_copy(update={"retries": 5})
    hasty = patient.model_copy(update={"deadline_s": 4})
    found = fetch([asked_for], patient.model_copy(update={"deadline_s": 19}))
    found += fetch([slow], hasty)

    assert [one.error_class for one in found] == ["http_503", "timeout"]
    assert site.requests == {"/a": 1, "/b": 2}


def test_requests_at_once_to_one_host_are_limited(site: Web, settings: DownloadSettings) -> None:
    urls = [site.serve(f"/{i}", b"x", delay_s=0.05) for i in range(20)]
    fetch(urls, settings.model_copy(update={"per_host": 3}))

    assert site.most_at_once == 3


def test_a_slow_host_does_not_hold_the_others_up(site: Web, settings: DownloadSettings) -> None:
    async def after_the_others(_: web.Request) -> web.Response:
        while site.requests["/fast"] < len(fast):
            await asyncio.sleep(0.01)
        return web.Response(body=b"x")

    slow = [site.url(f"/slow{i}") for i in range(30)]
    fast = [site.url("/fast", host=f"127.0.1.{i + 1}") for i in range(30)]
    site.serve("/fast", b"y")
    site.pages |= {f"/slow{i}": after_the_others for i in range(30)}
    found = fetch(slow + fast, settings.model_copy(update={"per_host": 2}))

    assert [one.body for one in found] == [b"x"] * 30 + [b"y"] * 30


@pytest.mark.parametrize("tag", ["noai", "NoImageAI", "all, noindex", "clip_assets: noimageindex"])
def test_images_whose_owner_refuses_are_not_taken(
    site: Web, settings: DownloadSettings, tag: str
) -> None:
    [found] = fetch([site.serve("/a", b"x", X_Robots_Tag=tag)], settings)

    assert (found.body, found.error_class) == (None, "policy_noai")
    assert site.requests["/a"] == 1


@pytest.mark.parametrize("tag", ["otherbot: noai", "all", "unavailable_after: 25 Jun 2030", ""])
def test_directives_for_others_do_not_matter(
    site: Web, settings: DownloadSettings, tag: str
) -> None:
    [found] = fetch([site.serve("/a", b"x", X_Robots_Tag=tag)], settings)

    assert found.body == b"x"


def test_noai_can_be_ignored(site: Web, settings: DownloadSettings) -> None:
    deaf = settings.model_copy(update={"respect_noai": False})
    [found] = fetch([site.serve("/a", b"x", X_Robots_Tag="noai")], deaf)

    assert found.body == b"x"


def test_redirects_are_followed_to_their_end(site: Web, settings: DownloadSettings) -> None:
    site.serve("/c", b"x")
    site.serve("/b", status=307, Location="c?q=1")
    site.serve("/a", status=301, Location="/b")
    [found] = fetch([site.url("/a")], settings)

    assert (found.body, found.final_url, found.attempts) == (b"x", site.url("/c?q=1"), 1)


@pytest.mark.parametrize(
    ("location", "error_class"),
    [
        ("/a", "redirect"),
        ("", "redirect"),
        ("file:///etc/passwd", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("http://10.0.0.1/x", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"),
        ("http://[::1]/x", "private_address"),
        ("http://localhost.localdomain.invalid:99999/", "url"),
        ("http://[bad/", "url"),
    ],
)
def test_redirects_to_forbidden_places_end(
    site: Web, settings: DownloadSettings, location: str, error_class: str
) -> None:
    [found] = fetch([site.serve("/a", status=302, Location=location)], settings)

    assert (found.body, found.error_class, found.http_status) == (None, error_class, 302)
    assert site.requests["/a"] <= settings.max_redirects + 1


def test_a_redirect_to_loopback_is_refused_where_only_another_address_is_allowed(
    site: Web, settings: DownloadSettings
) -> None:
    site.serve("/secret", b"secret")
    site.serve("/a", status=302, Location=site.url("/secret", host="127.0.1.2"))
    only = settings.model_copy(update={"allow_hosts": [f"127.0.0.1:{site.port}"]})
    [found] = fetch([site.url("/a")], only)

    assert found.error_class == "private_address"
    assert not site.requests["/secret"]


def test_slow_drips_end_at_the_deadline(raw: RawWeb, hasty: DownloadSettings) -> None:
    drip = raw.script("/a", OK + b"\r\n", *[b"x", 0.1] * 10_000)
    headers = raw.script("/b", OK, *[b"X-A: b\r\n", 0.1] * 10_000)
    silent = raw.script("/c", 1000.0)
    found = fetch([drip, headers, silent], hasty)

    assert [one.error_class for one in found] == ["timeout"] * 3


def test_endless_bodies_end_at_the_byte_cap(raw: RawWeb, settings: DownloadSettings) -> None:
    plain = raw.script("/a", OK + b"\r\n")
    endless = raw.script("/b", OK + b"Transfer-Encoding: chunked\r\n\r\n")

    async def pour(writer: asyncio.StreamWriter, *, chunk: bool) -> None:
        writer.write(OK + (b"Transfer-Encoding: chunked\r\n\r\n" if chunk else b"\r\n"))
        piece = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n" if chunk else b"x" * 65536
        while True:
            writer.write(piece)
            await writer.drain()

    raw.pages["/a"] = lambda _, writer: pour(writer, chunk=False)
    raw.pages["/b"] = lambda _, writer: pour(writer, chunk=True)
    small = settings.model_copy(update={"max_bytes": 2**21})
    found = fetch([plain, endless], small)

    assert [one.error_class for one in found] == ["too_large", "too_large"]


def test_waiting_for_room_is_not_the_servers_fault(site: Web, settings: DownloadSettings) -> None:
    body = bytes(2**21)
    urls = [site.serve(f"/{number}", body) for number in range(2)]
    told = {"deadline_s": 6, "retries": 0, "max_bytes": len(body), "max_memory_bytes": 2**23}
    begin = time.monotonic()
    # There is room for one and a half.
    found = fetch(urls[:2], settings.model_copy(update=told), work_s=6.5)

    assert [len(one.body or b"") for one in found] == [len(body)] * 2
    assert time.monotonic() - begin > 6.5, "the last one waited for the first to be released"


def test_a_body_that_fails_leaves_its_room_to_others(
    raw: RawWeb, settings: DownloadSettings
) -> None:
    head = OK + b"Content-Length: 2000000\r\n\r\n"
    urls = [raw.script(f"/{number}", head + bytes(1_900_000)) for number in range(10)]
    urls.append(raw.script("/whole", head + bytes(2_000_000)))
    told = {"retries": 0, "max_bytes": 2**21, "max_memory_bytes": 2**23}
    found = fetch(urls, settings.model_copy(update=told))

    assert [one.error_class for one in found] == ["incomplete"] * 10 + [None]


def test_a_body_announced_too_large_is_not_read(site: Web, settings: DownloadSettings) -> None:
    [found] = fetch(
        [site.serve("/a", b"x" * 5000)], settings.model_copy(update={"max_bytes": 4999})
    )

    assert (found.error_class, found.http_status) == ("too_large", 200)


@pytest.mark.parametrize("codings", [1, 2, pytest.param(40, id="more than are undone")])
def test_a_gzip_bomb_ends_at_the_byte_cap(
    raw: RawWeb, settings: DownloadSettings, codings: int
) -> None:
    bomb = bytes(200 * 2**20)
    for _ in range(codings):
        bomb = gzip.compress(bomb, 9)
    labels = b", ".join([b"gzip"] * codings)
    head = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (labels, len(bomb))
    small = settings.model_copy(update={"max_bytes": 2**20})
    [found] = fetch([raw.script("/a", head + bomb)], small)

    assert found.error_class == (None if codings > CODINGS_LIMIT else "too_large")
    assert len(found.body or b"") < 2**20


def test_what_unpacks_to_much_on_the_way_to_little_ends_too(
    raw: RawWeb, settings: DownloadSettings
) -> None:
    """Nothing comes of 160 MB of empty blocks, which are 800 KB packed."""
    empty = zlib.compress(b"x")[:2] + b"\0\0\0\xff\xff" * 2**25
    packed = gzip.compress(empty, 9)
    head = OK + b"Content-Encoding: deflate, gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    [found] = fetch([raw.script("/a", head + packed)], settings)

    assert found.error_class == "too_large"


@pytest.mark.parametrize(
    ("label", "content", "body"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0), b"hello"),
        ("X-GZip", gzip.compress(bytes(2**20), mtime=0), bytes(2**20)),
        ("deflate", zlib.compress(b"hello"), b"hello"),
        ("deflate", zlib.compress(b"hello", wbits=-15), b"hello"),
        ("gzip", b"hello", b"hello"),
        ("deflate", b"hello", b"hello"),
        ("br", b"hello", b"hello"),
        ("aws-chunked", b"hello", b"hello"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"hello", mtime=0), mtime=0), b"hello"),
        ("deflate,gzip", gzip.compress(zlib.compress(b"hello"), mtime=0), b"hello"),
        ("gzip, gzip", gzip.compress(b"hello", mtime=0), b"hello"),
        ("aws-chunked, gzip", gzip.compress(b"hello", mtime=0), b"hello"),
        (
            "gzip",
            gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0) + b"what is no gzip",
            b"hello",
        ),
        ("deflate", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n"),
        ("deflate", b"RIFF\x10\0\0\0WEBPVP8 ", b"RIFF\x10\0\0\0WEBPVP8 "),
    ],
    ids=map(str, range(15)),  # not of the content, which is long
)
def test_labels_of_encoding_are_believed_where_they_are_true(
    raw: RawWeb, settings: DownloadSettings, label: str, content: bytes, body: bytes
) -> None:
    head = f"Content-Encoding: {label}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    whole = raw.script("/a", OK + head + content)
    in_pieces = raw.script("/b", OK + head + content[:1], 0.2, content[1:])

    for found in fetch([whole, in_pieces], settings):
        assert (found.body, found.error_class) == (body, None)


def test_a_damaged_encoding_is_told(raw: RawWeb, settings: DownloadSettings) -> None:
    packed = gzip.compress(bytes(range(256)) * 4000)
    content = packed[:500] + bytes(100) + packed[600:]
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content)
    steps = (OK + head + content[:400], 0.2, content[400:])
    [found] = fetch([raw.script("/a", *steps)], settings.model_copy(update={"retries": 0}))

    assert found.error_class == "incomplete"


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        (b"", "reset"),
        (b"garbage\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "http_999"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\nContent-Length: 0\r\n\r\n", "url"),
    ],
    ids=[
        "silence",
        "garbage",
        "short",
        "bad chunk",
        "cut chunk",
        "huge header",
        "999",
        "bytes",
    ],
)
def test_broken_answers_are_told_apart(
    raw: RawWeb, settings: DownloadSettings, answer: bytes, error_class: str
) -> None:
    [found] = fetch([raw.script("/a", answer)], settings.model_copy(update={"retries": 0}))

    assert (found.body, found.error_class) == (None, error_class)
    assert "\n" not in found.error_message
    assert len(found.error_message) <= 200


BODY = bytes(range(256)) * 40
CHUNKED = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (b"X-Powered-By : PHP\r\nContent-Length : 10240", BODY),
        (b"X-Long: " + b"a" * 60_000 + b"\r\nContent-Length: 10240", BODY),
        (b"X: a\r\n" * 500 + b"Content-Length: 10240", BODY),
        (b"X-Cache HIT\r\nContent-Length: 10240", BODY),
        (b"X-Gr\xc3\xb6\xc3\x9fe: 1\r\n: 2\r\nX-\xff: 3\r\nContent-Length: 10240", BODY),
        (b"X-Folded: a\r\n b\r\nContent-Length: 10240", BODY),
        (b"X-Control: a\0b\x01\r\nContent-Length: 10240", BODY),
        (b"Content-Length: 10240\r\nContent-Length: 10240", BODY),
        (b"Content-Length: 10240, 10240", BODY),
        (b"Content-Length: 10240\r\nContent-Length: 5", BODY),
        (b"Content-Length: 10240\r\nX: 1\r\nY: 2", BODY + b"and more"),
        (b"Content-Length:", BODY),
        (b"Content-Length: -1", BODY),
        (b"Content-Length: x", BODY),
        (b"Transfer-Encoding: identity\r\nContent-Length: 10240", BODY),
        (b"Transfer-Encoding: Chunked", CHUNKED + b"\r\n"),
        (b"Transfer-Encoding: chunked, chunked", CHUNKED + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 7", CHUNKED + b"\r\n"),
        (b"Transfer-Encoding: chunked", CHUNKED),
        (b"Transfer-Encoding: chunked", CHUNKED.removesuffix(b"\n")),
        (b"Transfer-Encoding: chunked", CHUNKED.removesuffix(b"\r\n")),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 10240", BODY),
    ],
)
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200", b"HTTP/1.1  200  \xe9t\xe9"]
)
def test_answers_that_browsers_read_are_read(
    raw: RawWeb, settings: DownloadSettings, start: bytes, head: bytes, content: bytes
) -> None:
    answer = start + b"\r\n" + head + b"\r\n\r\n" + content
    bare = answer.replace(b"\r\n", b"\n") if content is BODY else answer
    whole = raw.script("/a", answer)
    # Waiting lets the pieces arrive one by one; together they would be read as well.
    pieces = raw.script("/b", answer[:20], 0.02, answer[20:-10], 0.02, answer[-10:])
    found = fetch([whole, pieces, raw.script("/c", bare)], settings)

    assert [(one.body, one.error_class) for one in found] == [(BODY, None)] * 3


def test_answers_that_only_announce_others_are_passed_over(
    raw: RawWeb, settings: DownloadSettings
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answer = OK + b"X : 1\r\nContent-Length: 1\r\n\r\nx"
    [found] = fetch([raw.script("/a", early, 0.02, early + answer)], settings)

    assert (found.body, found.http_status) == (b"x", 200)


def test_an_odd_answer_is_the_last_one_of_its_connection(
    raw: RawWeb, settings: DownloadSettings
) -> None:
    connections = Counter[str]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections["all"] += 1
        while True:
            writer.write(OK + b"Content-Length: 4\r\nContent-Length: 9\r\n\r\nbody")
            await reader.readuntil(b"\r\n\r\n")

    raw.pages = defaultdict(lambda: answer)
    one = settings.model_copy(update={"per_host": 1})
    found = fetch([f"http://127.0.0.1:{raw.port}/{i}" for i in range(3)], one)

    assert [one.body for one in found] == [b"body"] * 3
    assert connections["all"] == 3


def test_a_tail_behind_a_body_is_not_taken_for_an_answer(
    raw: RawWeb, settings: DownloadSettings
) -> None:
    lie = OK + b"Content-Length: 3\r\n\r\nlie"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 5\r\n\r\ntruth" + lie)
        await reader.read()

    raw.pages = defaultdict(lambda: answer)
    one = settings.model_copy(update={"per_host": 1})
    found = fetch([f"http://127.0.0.1:{raw.port}/{i}" for i in range(3)], one)

    assert [one.body for one in found] == [b"truth"] * 3


@pytest.mark.parametrize(
    ("url", "error_class"),
    [
        ("", "scheme"),
        ("no scheme", "scheme"),
        ("/relative", "scheme"),
        ("//host/path", "scheme"),
        ("ftp://127.0.0.1/a", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("data:image/png;base64,AAAA", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("http://", "url"),
        ("http:///path", "url"),
        ("http://[bad", "url"),
        ("http://host:port/", "url"),
        ("http://host:99999/", "url"),
        ("http://10.1.2.3/", "private_address"),
        ("http://0/", "url"),
        ("http://0x7f.1/", "private_address"),
        ("http://2130706433/", "url"),
        ("http://[::ffff:127.0.0.1]/", "private_address"),
        ("http://[64:ff9b::7f00:1]/", "private_address"),
        ("http://[fe80::1%25lo]/", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"),
        ("http://localhost/", "private_address"),
        ("http://" + "a" * 300 + ".invalid/", "dns"),
        ("http://xn--/", "dns"),
        ("http://\u2603\ud7ff..\u0000/", "url"),
    ],
)
def test_urls_that_lead_nowhere_are_told_apart(
    settings: DownloadSettings, url: str, error_class: str
) -> None:
    strict = settings.model_copy(update={"allow_hosts": [], "retries": 0})
    [found] = fetch([url], strict)

    assert (found.body, found.error_class) == (None, error_class), found.error_message
    assert found.http_status is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a b.jpg", "/a%20b.jpg"),
        (" /a.jpg\n", "/a.jpg"),
        ("/\u00e9t\u00e9.jpg", "/%C3%A9t%C3%A9.jpg"),
        ("/a%2Fb%7e.jpg?x=%41&y=a+b", "/a%2Fb%7e.jpg?x=%41&y=a+b"),
        ("/a.jpg#fragment", "/a.jpg"),
        ("/a.jpg?q=\u2603", "/a.jpg?q=%E2%98%83"),
    ],
)
def test_urls_are_sent_as_they_are_or_quoted(
    site: Web, settings: DownloadSettings, url: str, path: str
) -> None:
    stripped = url.strip()
    full = site.url(stripped).join(url.split(stripped))
    fetch([full], settings)

    assert site.raw_paths == [path]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/caf\xe9.jpg", "/caf%E9.jpg"),
        (b"/caf\xc3\xa9.jpg", "/caf%C3%A9.jpg"),
        (b"caf\xc3\xa9\xe9.jpg?a=1", "/caf%C3%A9%E9.jpg?a=1"),
    ],
)
def test_redirects_keep_the_bytes_of_their_target(
    site: Web, raw: RawWeb, settings: DownloadSettings, location: bytes, path: str
) -> None:
    to = site.url("/").encode() + location.lstrip(b"/")
    head = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to
    fetch([raw.script("/a", head)], settings)

    assert site.raw_paths == [path]


def test_userinfo_becomes_authorization_and_is_not_told(
    site: Web, settings: DownloadSettings
) -> None:
    site.serve("/a", b"x")
    [found] = fetch([f"http://me:secret@127.0.0.1:{site.port}/a"], settings)

    assert found.body == b"x"
    assert site.headers[0]["Authorization"].startswith("Basic ")
    assert "secret" not in found.final_url


def test_refused_connections_and_unknown_names_are_rows(settings: DownloadSettings) -> None:
    refused, unknown = fetch(["http://127.0.0.1:1/a", "http://no-such-host.invalid/a"], settings)

    assert refused.error_class == "refused"
    assert unknown.error_class in ("dns", "dns_unanswered")


def test_https_with_a_trusted_certificate_works(
    tls_site: Callable[[ssl.SSLContext], Web],
    authority: Authority,
    settings: DownloadSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    site = tls_site(authority.context())
    urls = [site.serve("/a", b"x"), site.url("/a", host="localhost")]
    found = fetch(urls, settings)

    assert [one.body for one in found] == [b"x", b"x"]


def test_bad_certificates_are_refused(
    tls_site: Callable[[ssl.SSLContext], Web],
    authority: Authority,
    settings: DownloadSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    expired = tls_site(authority.context(days=-1))
    self_signed = tls_site(authority.context(signed_by_self=True))
    good = tls_site(authority.context())
    found = fetch(
        [
            expired.serve("/a", b"x"),
            self_signed.serve("/a", b"x"),
            good.url("/a", host="127.0.1.9"),
            good.url("/a").replace("https:", "http:"),
            f"https://127.0.0.1:{good.port}/a",
        ],
        settings.model_copy(update={"retries": 0}),
    )

    assert [one.error_class for one in found] == ["tls", "tls", "tls", "reset", "http_404"]
    assert "expired" in found[0].error_message
    assert not expired.requests


def test_a_stalled_tls_handshake_ends(raw: RawWeb, hasty: DownloadSettings) -> None:
    # The server waits for the end of a request's head, which a TLS greeting does not have.
    [found] = fetch([f"https://127.0.0.1:{raw.port}/"], hasty)

    assert found.error_class == "timeout"


def test_a_host_that_keeps_failing_is_left_alone(site: Web, settings: DownloadSettings) -> None:
    urls = [site.serve(f"/{i}", status=500) for i in range(60)]
    found = fetch(urls, settings.model_copy(update={"retries": 0, "per_host": 2}))

    classes = [one.error_class for one in found]
    assert set(classes) == {"http_500", "host_down"}
    assert site.requests.total() == classes.count("http_500") <= 22
    assert all(one.attempts == 0 for one in found if one.error_class == "host_down")


def test_a_host_that_says_no_is_not_a_host_that_fails(
    site: Web, settings: DownloadSettings
) -> None:
    found = fetch([site.url(f"/{i}") for i in range(60)], settings)

    assert {one.error_class for one in found} == {"http_404"}


def test_requests_to_one_host_keep_their_distance(site: Web, settings: DownloadSettings) -> None:
    urls = [site.serve(f"/{i}", b"x") for i in range(6)]
    start = time.monotonic()
    fetch(urls, settings.model_copy(update={"per_host_interval_s": 0.1}))

    assert time.monotonic() - start > 0.5


def test_what_is_not_requested_does_not_keep_a_distance(settings: DownloadSettings) -> None:
    urls = ["no url"] * 50 + ["http://10.0.0.1/a"] * 50
    found = fetch(urls, settings.model_copy(update={"per_host_interval_s": 1000}))

    assert Counter(one.error_class for one in found) == {"scheme": 50, "private_address": 50}


def test_two_spellings_of_a_host_are_one_host(site: Web, settings: DownloadSettings) -> None:
    site.serve("/a", b"x", delay_s=0.1)
    names = ["localhost", "LOCALHOST", "LocalHost"]
    local = settings.model_copy(update={"allow_hosts": ["localhost"], "per_host": 1})
    found = fetch([site.url("/a", host=name) for name in names], local)

    assert [one.body for one in found] == [b"x"] * 3
    assert site.most_at_once == 1


@pytest.mark.slow
def test_fifty_thousand_urls_on_one_host_all_end(raw: RawWeb, settings: DownloadSettings) -> None:
    answers = Counter[str]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers["connections now"] += 1
        answers["most"] = max(answers["most"], answers["connections now"])
        answers["connections"] += 1
        while True:
            answers["requests"] += 1
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            try:
                await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
        answers["connections now"] -= 1

    raw.pages = defaultdict(lambda: answer)
    found = fetch([f"http://127.0.0.1:{raw.port}/{i}" for i in range(50_000)], settings)

    assert {(one.body, one.http_status, one.attempts) for one in found} == {(b"", 204, 1)}
    assert answers["requests"] >= 50_000
    assert answers["most"] <= settings.per_host
    assert answers["connections"] <= 1000


@pytest.fixture
def obedient(settings: DownloadSettings) -> DownloadSettings:
    return settings.model_copy(update={"respect_robots": True, "retries": 0})


def test_robots_txt_is_asked_once_and_obeyed(site: Web, obedient: DownloadSettings) -> None:
    site.serve("/robots.txt", b"User-agent: *\nDisallow: /private/\nUser-agent: bad\nDisallow: /")
    allowed = [site.serve(f"/{i}", b"x") for i in range(5)]
    found = fetch([*allowed, site.serve("/private/a", b"x")], obedient)

    assert [one.body for one in found[:5]] == [b"x"] * 5
    assert found[5].error_class == "policy_robots"
    assert site.requests["/robots.txt"] == 1
    assert not site.requests["/private/a"]


@pytest.mark.parametrize(
    ("rules", "allowed", "refused"),
    [
        ("User-agent: *\nDisallow: /*.jpg$", ["/a.jpg?large", "/a.jpeg"], ["/a.jpg", "/b/c.jpg"]),
        ("User-agent: *\nDisallow: /b/\nAllow: /b/c/", ["/a", "/b/c/d"], ["/b/", "/b/d"]),
        ("User-agent: *\nAllow: /b\nDisallow: /b", ["/b"], []),
        ("\ufeffUser-agent: *\nDisallow: /", [], ["/a"]),
        ("User-agent: clip_assets\nDisallow: /\n\nUser-agent: *\nAllow: /", [], ["/a"]),
        ("user-agent : CLIP_Assets/2.0 # ours\nDisallow: /", [], ["/a"]),
        ("User-agent: *\nDisallow: /\n\nUser-agent: clip_assets\nDisallow: /b", ["/a"], ["/b"]),
        ("User-agent: *\nUser-agent: other\nDisallow: /", [], ["/a"]),
        ("User-agent: other\nDisallow: /\nUser-agent: *\nDisallow: /b", ["/a"], ["/b"]),
        ("User-agent: clip_assets_too\nUser-agent: *bot\nDisallow: /", ["/a"], []),
    ],
    ids=[
        "wildcards", "longest", "as long", "mark", "ours", "version", "ours only", "group",
        "others", "similar",
    ],
)  # fmt: skip
def test_robots_txt_is_read_by_its_standard(
    site: Web, obedient: DownloadSettings, rules: str, allowed: list[str], refused: list[str]
) -> None:
    site.serve("/robots.txt", rules.encode())
    found = fetch([site.serve(path, b"x") for path in [*allowed, *refused]], obedient)

    expected = [None] * len(allowed) + ["policy_robots"] * len(refused)
    assert [one.error_class for one in found] == expected


def test_a_host_without_robots_txt_allows_everything(site: Web, obedient: DownloadSettings) -> None:
    [found] = fetch([site.serve("/a", b"x")], obedient)

    assert found.body == b"x"


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        ({"status": 503}, "robots_unanswered"),
        ({"status": 302, "Location": "/robots.txt"}, None),
        ({"status": 302, "Location": "file:///etc/passwd"}, "robots_unanswered"),
        ({"status": 302, "Location": "http://10.0.0.1/robots.txt"}, "robots_unanswered"),
        ({"body": b"\0\xff garbage"}, None),
        ({"body": b"User-agent: *\nDisallow: /\n" + b"# filler\n" * 12_000_000}, "policy_robots"),
    ],
    ids=["503", "loop", "file", "private", "garbage", "100 MB"],
)
def test_strange_robots_txt_has_an_outcome(
    site: Web, obedient: DownloadSettings, answer: dict[str, Any], error_class: str | None
) -> None:
    site.serve("/robots.txt", **answer)
    [found] = fetch([site.serve("/a", b"x")], obedient)

    assert found.error_class == error_class


def test_many_names_and_many_rules_do_not_multiply(site: Web, obedient: DownloadSettings) -> None:
    lines = (b"User-agent: %d\n", b"Disallow: /%d\n")
    rules = b"".join(line % number for line in lines for number in range(1500))
    site.serve("/robots.txt", b"User-agent: *\n" + rules + b"Disallow: /a")
    tracemalloc.start()
    try:
        [found] = fetch([site.serve("/a", b"x")], obedient)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.error_class == "policy_robots"
    assert peak < 32 * 2**20


def test_a_host_that_cannot_be_reached_for_robots_txt_is_told_as_that(
    obedient: DownloadSettings,
) -> None:
    [found] = fetch(["http://127.0.0.1:1/a"], obedient)

    assert (found.error_class, found.attempts) == ("refused", 1)


def test_a_crawl_delay_keeps_requests_apart_up_to_a_limit(
    site: Web, obedient: DownloadSettings
) -> None:
    site.serve("/robots.txt", b"User-agent: *\nCrawl-delay: 1000")
    urls = [site.serve(f"/{i}", b"x", delay_s=0.01) for i in range(4)]
    start = time.monotonic()
    found = fetch(urls, obedient.model_copy(update={"max_crawl_delay_s": 0.5}))

    assert [(one.body, one.attempts) for one in found] == [(b"x", 1)] * 4
    assert time.monotonic() - start > 3 * 0.5
    assert site.most_at_once == 1


def test_a_crawl_delay_is_not_kept_where_robots_txt_is_only_recorded(
    site: Web, settings: DownloadSettings
) -> None:
    site.serve("/robots.txt", b"User-agent: *\nCrawl-delay: 1000")
    found = fetch(
        [site.serve(f"/{i}", b"x") for i in range(4)],
        settings.model_copy(update={"ask_sites": True}),
    )

    assert [one.body for one in found] == [b"x"] * 4


@pytest.mark.parametrize("status", [429, 503])
def test_rules_that_did_not_come_are_asked_for_again_after_a_while(
    site: Web, obedient: DownloadSettings, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    urls = [site.serve(f"/{i}", b"x") for i in range(3)]
    one_by_one = obedient.model_copy(update={"per_host": 1})
    site.serve("/robots.txt", status=status)
    found = fetch(urls, one_by_one)
    assert [one.error_class for one in found] == ["robots_unanswered"] * 3
    assert site.requests["/robots.txt"] == 1

    async def once_busy(_: web.Request) -> web.Response:
        return web.Response(status=status if site.requests["/robots.txt"] == 2 else 404)

    site.pages["/robots.txt"] = once_busy
    monkeypatch.setattr(site_files, "FAILURE_KEPT_S", 0.0)
    found = fetch(urls, one_by_one)
    assert [one.error_class for one in found] == ["robots_unanswered", None, None]
    assert site.requests["/robots.txt"] == 3


def test_ports_of_a_host_stand_in_one_line_and_fail_on_their_own() -> None:
    one, other = (Job("", False, URL(f"http://a.org:{port}/")) for port in (80, 8080))
    assert one.line == other.line
    assert one.server != other.server


def test_robots_txt_is_not_asked_for_unless_wanted(site: Web, settings: DownloadSettings) -> None:
    fetch([site.serve("/a", b"x")], settings)

    assert not site.requests["/robots.txt"]
