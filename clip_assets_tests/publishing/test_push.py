"""A push to a server that speaks the hub's protocol sends what is missing, and nobody sees half."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from clip_assets.errors import ConfigurationError, SourceError, StorageFullError
from clip_assets.publishing import patience
from clip_assets.publishing.push import push
from clip_assets.storage.store import Store
from clip_assets_tests.publishing.conftest import Published
from clip_assets_tests.servers import WebServer, serving

SMALL = 2_000
"""Bytes up to which a file is sent within its commit."""

CUT = 0
"""A status of which there is no answer: the connection is closed."""


class Receiver:
    """What a hub has received: files, large contents by digest, and what was asked.

    ``faults`` are given as answers, the first one first, to requests whose path has ``faulty`` in
    it. With ``takes`` the hub takes so many large files and lets who sends more wait; of each that
    comes it tells ``is_sent``.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.private: bool | None = None
        self.commits: list[list[str]] = []
        self.puts: list[str] = []
        self.faulty = ""
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.after = False
        self.takes: int | None = None
        self.is_sent: Callable[[], object] = lambda: None
        self.is_waited_for, self.goes_on = threading.Event(), threading.Event()
        self.url = ""

    def fault(self, path: str) -> tuple[int, dict[str, str]] | None:
        return self.faults.pop(0) if self.faults and self.faulty in path else None

    def commit(self, lines: list[dict[str, Any]]) -> None:
        named: list[str] = []
        for line in lines[1:]:
            value = line["value"]
            named.append(value["path"])
            if line["key"] == "deletedFile":
                del self.files[value["path"]]
            elif line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            else:
                self.files[value["path"]] = self.large[value["oid"]]
        self.commits.append(named)

    def tree(self) -> list[dict[str, Any]]:
        return [self.entry(path, content) for path, content in self.files.items()]

    @staticmethod
    def entry(path: str, content: bytes) -> dict[str, Any]:
        oid = sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": path, "oid": oid, "size": len(content)}
        if len(content) <= SMALL:
            return entry
        digest = sha256(content).hexdigest()
        return entry | {"lfs": {"oid": digest, "size": len(content), "pointerSize": 130}}


class Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if fault := self.receiver.fault(self.path):
            self.answer({"error": "not now"}, *fault)
            return
        self.answer(self.receiver.tree() if "/tree/" in self.path else {"id": "we/pairs"})

    def do_PUT(self) -> None:
        hub = self.receiver
        if hub.takes is not None and len(hub.puts) >= hub.takes:
            hub.is_waited_for.set()
            hub.goes_on.wait()
            return
        hub.puts.append(self.path)
        hub.is_sent()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if fault := hub.fault(self.path):
            self.answer({}, *fault)
            return
        hub.large[sha256(content).hexdigest()] = content
        self.answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub, path = self.receiver, self.path.split("?")[0]
        fault = hub.fault(path)
        if fault and fault[0] == CUT:
            self.close_connection = True
        elif fault and not hub.after:
            self.answer({"error": "not now"}, *fault)
        elif path == "/api/repos/create":
            is_new = hub.private is None
            said = json.loads(body)
            is_private = said.get("visibility") == "private" or said.get("private") is True
            hub.private = is_private if is_new else hub.private
            self.answer({"url": f"{hub.url}/datasets/we/pairs"}, 200 if is_new else 409)
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] > SMALL else "regular",
                    "shouldIgnore": False,
                }
                for one in files
            ]
            self.answer({"files": modes})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/objects/batch"):
            objects = json.loads(body)["objects"]
            self.answer({"transfer": "basic", "objects": [self.wanted(one) for one in objects]})
        else:
            hub.commit([json.loads(line) for line in body.splitlines()])
            made = {"commitUrl": f"{hub.url}/datasets/we/pairs/commit/1", "commitOid": "1"}
            self.answer(made, *(fault or ()))

    def wanted(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.receiver.large:
            return one
        return one | {"actions": {"upload": {"href": f"{self.receiver.url}/put/{one['oid']}"}}}

    def answer(self, said: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver()
    server = WebServer(type("Own", (Handler,), {"receiver": found}))
    found.url = server.url
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_nobodys")
    with serving(server):
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A pool whose data set is written, for tests that change nothing of it."""
    made = Published(Store.open(str(tmp_path_factory.mktemp("pool"))))
    made.published()
    return made


def test_all_files_are_sent_privately_and_then_none(written: Published, receiver: Receiver) -> None:
    done = push(written.pool)
    assert receiver.private is True
    assert sorted(done.sent) == sorted(receiver.files)
    assert {"README.md", "faiss/image.index", "data/train-00000.parquet"} <= {*done.sent}
    for name, content in receiver.files.items():
        assert content == written.store.read_bytes(f"hub/{name}")
    again = push(written.pool)
    assert (again.sent, again.removed, len(again.same)) == ([], [], len(done.sent))
    assert len(receiver.commits) == 1


def test_only_what_changed_is_sent_and_what_is_gone_is_removed(
    made: Published, receiver: Receiver
) -> None:
    made.published()
    push(made.pool)
    small = min(receiver.files, key=lambda name: len(receiver.files[name]))
    assert len(receiver.files[small]) <= SMALL
    receiver.files[small] = b"x" * len(receiver.files[small])
    receiver.files |= {"data/train-00009.parquet": b"of before", ".gitattributes": b"*"}
    made.set(hub={"contact": "a@b.org"})
    made.published()
    done = push(made.pool)
    changed = sorted({"README.md", small})
    assert (done.sent, done.removed) == (changed, ["data/train-00009.parquet"])
    assert receiver.files[small] == made.store.read_bytes(f"hub/{small}")
    assert ".gitattributes" in receiver.files


def test_a_file_that_the_hub_has_otherwise_is_sent_though_it_is_as_long(
    written: Published, receiver: Receiver
) -> None:
    push(written.pool)
    sizes = {name: len(content) for name, content in receiver.files.items()}
    least, most = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
    assert sizes[least] <= SMALL < sizes[most], "of one the hub tells git's digest"
    receiver.files |= {name: bytes(sizes[name]) for name in (least, most)}
    assert push(written.pool).sent == sorted([least, most])
    assert receiver.files[least] == written.store.read_bytes(f"hub/{least}")


@pytest.mark.parametrize("faulty", ["/repos/create", "/commit/"])
def test_a_hub_that_breaks_the_connection_is_asked_again(
    written: Published, receiver: Receiver, hasty: list[float], faulty: str
) -> None:
    # The hub's own library asks again by itself for what changes nothing there, not for these.
    receiver.faulty, receiver.faults = faulty, [(CUT, {})]
    assert push(written.pool).sent == sorted(receiver.files)
    assert hasty == [1.0]


@pytest.mark.parametrize(("left", "pause_s"), [(0, 90.0), (5, 1.0)])
def test_a_limit_of_requests_is_waited_for_when_none_is_left(
    written: Published, receiver: Receiver, hasty: list[float], left: int, pause_s: float
) -> None:
    receiver.faulty = "/commit/"
    receiver.faults = [(429, {"RateLimit": f'"api";r={left};t=90'})]
    push(written.pool)
    assert hasty == [pause_s]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses take no time; those that were made."""
    made = list[float]()
    monkeypatch.setattr(patience.time, "sleep", made.append)
    return made


@pytest.mark.parametrize("faulty", ["/repos/create", "/tree/", "/preupload/", "/commit/"])
def test_a_push_goes_on_when_a_busy_hub_is_not_busy_any_more(
    written: Published, receiver: Receiver, hasty: list[float], faulty: str
) -> None:
    receiver.faulty = faulty
    receiver.faults = [(429, {"Retry-After": "7"}), (500, {}), (503, {})]
    assert push(written.pool).sent == sorted(receiver.files)
    # Some steps are tried again by the hub's own library.
    assert len(hasty) == 3
    assert hasty[0] >= 7


def test_a_large_file_that_is_refused_for_a_while_is_sent_again(
    written: Published, receiver: Receiver, hasty: list[float]
) -> None:
    receiver.faulty, receiver.faults = "/put/", [(500, {})]
    assert push(written.pool).sent == sorted(receiver.files)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    written: Published, receiver: Receiver, hasty: list[float]
) -> None:
    receiver.faulty, receiver.faults, receiver.after = "/commit/", [(504, {})], True
    push(written.pool)
    assert len(receiver.commits) == 1


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "3600"}])
def test_a_hub_that_stays_busy_is_an_error_that_says_what_to_do(
    written: Published, receiver: Receiver, hasty: list[float], headers: dict[str, str]
) -> None:
    receiver.faulty, receiver.faults = "/commit/", [(429, headers)] * 100
    with pytest.raises(SourceError, match="HTTP 429") as told:
        push(written.pool)
    assert "we/pairs" in told.value.where
    assert "Run the same again later" in told.value.advice
    assert len(hasty) == (0 if headers else len(patience.PAUSES_S))
    assert receiver.files == {}
    receiver.faults = []
    sent = len(receiver.puts)
    push(written.pool)
    assert len(receiver.puts) == sent, "large files were there already"


@pytest.mark.parametrize("status", [401, 403, 413])
def test_what_a_hub_refuses_is_not_tried_again(
    written: Published, receiver: Receiver, hasty: list[float], status: int
) -> None:
    receiver.faulty, receiver.faults = "/commit/", [(status, {})]
    with pytest.raises(SourceError, match="we/pairs"):
        push(written.pool)
    assert hasty == []
    assert receiver.files == {}


def test_a_push_that_is_killed_goes_on_with_what_is_missing_and_nobody_sees_half(
    written: Published, receiver: Receiver
) -> None:
    Path(written.store.base, "pool.yaml").write_text("hub: {repository: we/pairs}")
    receiver.takes = 2
    program = (
        "import sys; from clip_assets import graph; from clip_assets.publishing.push import push"
    )
    environment = {"HF_ENDPOINT": receiver.url, "HF_TOKEN": "hf_nobodys", "HF_HUB_DISABLE_XET": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}; push(graph.open_pool({written.store.base!r}))"],
        env={**os.environ, **environment},
    )
    assert receiver.is_waited_for.wait(60)
    # Files are sent side by side: those that were taken may still be on their way.
    while len(receiver.large) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert receiver.files == {}, "nothing is seen before the commit"
    receiver.takes = None
    receiver.goes_on.set()
    before, receiver.puts = receiver.puts, []
    done = push(written.pool)
    assert sorted(receiver.files) == done.sent
    assert len(receiver.commits) == 1
    assert len(before) == 2
    assert receiver.puts
    assert not {*before} & {*receiver.puts}, "what was there is not sent again"


def test_a_disk_without_room_for_copies_is_told(
    receiver: Receiver, full_disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Published(Store.open("memory://published"))
    made.published()
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk_folder))
    with pytest.raises(StorageFullError, match="a full disk"):
        push(made.pool)
    assert receiver.files == {}


def test_a_pool_that_is_not_on_this_machine_is_pushed_from_copies(receiver: Receiver) -> None:
    made = Published(Store.open("memory://pushed"))
    made.published()
    assert push(made.pool).sent == sorted(receiver.files)
    for name, content in receiver.files.items():
        assert content == made.store.read_bytes(f"hub/{name}")


def test_copies_are_few_and_large_files_are_sent_from_them(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_assets.publishing.push.SENT_FILES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Published(Store.open("memory://few"))
    made.published()
    copies = list[int]()
    receiver.is_sent = lambda: copies.append(len(list(tmp_path.glob("clip-assets-*/*"))))
    assert len(push(made.pool).sent) > 2 <= len(receiver.puts)
    # One that were read into memory first, to go with the commit, would have no copy by then.
    assert copies == [1] * len(receiver.puts)


def test_a_name_that_a_hub_does_not_allow_is_an_error(made: Published, receiver: Receiver) -> None:
    made.set(hub={"repository": "we/pa--irs"})
    made.published()
    with pytest.raises(SourceError, match="Cannot have -- or"):
        push(made.pool)
    assert receiver.private is None


def test_without_a_repository_nothing_is_sent(made: Published, receiver: Receiver) -> None:
    made.set(hub={"repository": ""})
    made.published()
    with pytest.raises(ConfigurationError, match=r"hub\.repository"):
        push(made.pool)
    assert receiver.private is None
