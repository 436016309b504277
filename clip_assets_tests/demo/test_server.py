"""The demo world's web server misbehaves as each kind of url says."""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from clip_assets.demo.answers import HUGE_BYTES
from clip_assets.demo.misbehaviour import BY_NAME, DEAD_HOST
from clip_assets.demo.server import serving
from clip_assets.demo.truth import World
from clip_assets.demo.world import build_world
from clip_assets.errors import ConfigurationError

PATIENCE_S = 10.0
Get = Callable[[str], http.client.HTTPResponse]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("served"), "http://127.0.0.1:9", pairs=60)


@pytest.fixture(scope="module")
def base_url(world: World) -> Iterator[str]:
    with serving(world.folder) as url:
        yield url


@pytest.fixture
def path_of(world: World) -> dict[str, str]:
    """One path of every kind that the world's urls have."""
    return {picture.kind: f"/{picture.kind}/{picture.name}" for picture in world.pictures.values()}


@pytest.fixture
def get(base_url: str) -> Iterator[Get]:
    """Asks for a path; everything is closed after the test."""
    with ExitStack() as opened:

        def ask(path: str) -> http.client.HTTPResponse:
            connection = connect(base_url)
            opened.callback(connection.close)
            connection.request("GET", path)
            return opened.enter_context(connection.getresponse())

        yield ask


def connect(base_url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=PATIENCE_S)


def status_of(url: str) -> int:
    with closing(connect(url)) as connection:
        connection.request("GET", "/missing")
        return connection.getresponse().status


def is_image(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    return True


def test_a_good_path_gives_the_file_with_its_type(
    get: Get, world: World, path_of: dict[str, str]
) -> None:
    answer = get(path_of["images"])
    stored = (world.folder / path_of["images"].lstrip("/")).read_bytes()
    assert answer.read() == stored
    assert answer.headers.get_content_maintype() == "image"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("missing", 404), ("gone", 410), ("forbidden", 403), ("500", 500), ("images", 404)],
)
def test_an_error_has_its_status(get: Get, kind: str, status: int) -> None:
    assert get(f"/{kind}/nothing-here.jpg").status == status


@pytest.mark.parametrize("kind", [kind for kind in BY_NAME if kind != DEAD_HOST.name])
def test_a_kind_answers_without_a_file_too(base_url: str, kind: str) -> None:
    connection = socket.create_connection(("127.0.0.1", urlsplit(base_url).port or 0), PATIENCE_S)
    with connection:
        connection.sendall(f"GET /{kind} HTTP/1.1\r\nHost: demo\r\n\r\n".encode())
        try:
            start = connection.recv(12)
        except ConnectionResetError:
            start = b""
    assert start.startswith(b"HTTP/1.1") is (kind != "reset")
    assert start != b"HTTP/1.1 404" or kind == "missing"


def test_too_many_requests_pass_after_a_wait(get: Get) -> None:
    refused = get("/429/again.jpg")
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "1"
    assert is_image(get("/429/again.jpg").read())


def test_a_redirect_leads_to_the_image(get: Get, path_of: dict[str, str]) -> None:
    answer = get(path_of["redirect"])
    assert answer.status == 302
    assert is_image(get(answer.headers["Location"]).read())


def test_a_redirect_loop_leads_to_itself(get: Get) -> None:
    answer = get("/redirect-loop/1.jpg")
    assert (answer.status, answer.headers["Location"]) == (302, "/redirect-loop/1.jpg")


@pytest.mark.parametrize(
    ("kind", "content_type"), [("wrong-type", "text/html"), ("text-type", "text/plain")]
)
def test_a_wrong_type_hides_a_real_image(
    get: Get, path_of: dict[str, str], kind: str, content_type: str
) -> None:
    answer = get(path_of[kind])
    assert answer.headers.get_content_type() == content_type
    assert is_image(answer.read())


def test_a_web_page_poses_as_an_image(get: Get) -> None:
    answer = get("/html/1.jpg")
    assert answer.headers.get_content_type() == "image/jpeg"
    assert answer.read().startswith(b"<!doctype html>")


def test_an_image_may_refuse_training(get: Get, path_of: dict[str, str]) -> None:
    answer = get(path_of["noai"])
    assert answer.headers["X-Robots-Tag"] == "noai"
    assert is_image(answer.read())


def test_an_empty_answer_is_a_success_without_bytes(get: Get) -> None:
    answer = get("/empty/1.jpg")
    assert (answer.status, answer.read()) == (200, b"")


def test_a_truncated_answer_ends_before_its_promise(get: Get, path_of: dict[str, str]) -> None:
    answer = get(path_of["truncated"])
    promised = int(answer.headers["Content-Length"])
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    assert 0 < len(caught.value.partial) < promised


def test_a_reset_leaves_no_answer(get: Get) -> None:
    with pytest.raises(ConnectionResetError):
        get("/reset/1.jpg")


def test_a_slow_answer_drips(get: Get, path_of: dict[str, str]) -> None:
    began = time.monotonic()
    answer = get(path_of["slow"])
    answer.read(2)
    assert time.monotonic() - began > 0.3
    assert int(answer.headers["Content-Length"]) > 500


def test_a_huge_answer_promises_gigabytes_and_keeps_coming(get: Get) -> None:
    answer = get("/huge/1.jpg")
    assert int(answer.headers["Content-Length"]) == HUGE_BYTES
    assert len(answer.read(3_000_000)) == 3_000_000
    answer.close()


def test_the_server_lives_on_when_clients_leave_slow_and_huge_answers(get: Get) -> None:
    for path in ("/slow/left.jpg", "/huge/left.jpg"):
        get(path).close()
    assert get("/missing/after.jpg").status == 404


def test_requests_are_counted_by_path(get: Get) -> None:
    for _ in range(3):
        get("/missing/counted.jpg").read()
    counts = json.loads(get("/requests.json").read())
    assert counts["/missing/counted.jpg"] == 3


@pytest.mark.parametrize("path", ["/images/../world.json", "/images/%2e%2e/world.json", "/noai/.."])
def test_a_path_cannot_leave_the_images(get: Get, path: str) -> None:
    assert b"arguments" not in get(path).read()


def test_the_server_is_gone_after_the_block(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        assert status_of(url) == 404
    with pytest.raises(ConnectionRefusedError):
        status_of(url)


def test_a_taken_port_is_an_error(base_url: str, tmp_path: Path) -> None:
    port = urlsplit(base_url).port or 0
    with pytest.raises(ConfigurationError, match=str(port)), serving(tmp_path, port):
        pass


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from clip_assets.demo.server import serving\n"
        "with serving(Path(sys.argv[1])) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert status_of(url) == 404
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + PATIENCE_S
    while is_listening(urlsplit(url).port or 0):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
