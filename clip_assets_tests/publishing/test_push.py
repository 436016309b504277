"""A push to a server that speaks the hub's protocol sends what is missing, and goes on."""

import base64
import json
from collections.abc import Iterator
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

from clip_assets.errors import ConfigurationError, SourceError
from clip_assets.publishing import push as pushing
from clip_assets.publishing.push import push
from clip_assets_tests.publishing.conftest import Published
from clip_assets_tests.servers import serving

SMALL = 10_000
"""Bytes up to which a file is sent within its commit."""


class Receiver:
    """What a hub has received: files, large contents by digest, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.private: bool | None = None
        self.commits: list[list[str]] = []
        self.refuses: list[int] = []
        self.url = ""

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
        self.answer(self.receiver.tree() if "/tree/" in self.path else {"id": "we/pairs"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.receiver.large[sha256(content).hexdigest()] = content
        self.answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub, path = self.receiver, self.path.split("?")[0]
        if hub.refuses and path.split("/")[-2] == "commit":
            self.answer({"error": "not now"}, hub.refuses.pop(0))
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
            self.answer({"commitUrl": f"{hub.url}/datasets/we/pairs/commit/1", "commitOid": "1"})

    def wanted(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.receiver.large:
            return one
        return one | {"actions": {"upload": {"href": f"{self.receiver.url}/put/{one['oid']}"}}}

    def answer(self, said: Any, status: int = 200) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"receiver": found}))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_nobodys")
    with serving(server):
        yield found


def test_all_files_are_sent_privately_and_then_none(made: Published, receiver: Receiver) -> None:
    made.published()
    done = push(made.pool)
    assert receiver.private is True
    assert sorted(done.sent) == sorted(receiver.files)
    assert {"README.md", "faiss/image.index", "data/train-00000.parquet"} <= {*done.sent}
    for name, content in receiver.files.items():
        assert content == made.store.read_bytes(f"hub/{name}")
    again = push(made.pool)
    assert (again.sent, again.removed, len(again.same)) == ([], [], len(done.sent))
    assert len(receiver.commits) == 1


def test_only_what_changed_is_sent_and_what_is_gone_is_removed(
    made: Published, receiver: Receiver
) -> None:
    made.published()
    push(made.pool)
    receiver.files |= {"data/train-00009.parquet": b"of before", ".gitattributes": b"*"}
    made.set(hub={"contact": "a@b.org"})
    made.published()
    done = push(made.pool)
    assert (done.sent, done.removed) == (["README.md"], ["data/train-00009.parquet"])
    assert ".gitattributes" in receiver.files


@pytest.mark.parametrize("status", [403, 413])
def test_a_push_that_is_refused_half_way_goes_on(
    made: Published, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    made.published()
    monkeypatch.setattr(pushing, "COMMIT_FILES", 3)
    receiver.refuses = []
    commit = receiver.commit

    def once(lines: list[dict[str, Any]]) -> None:
        commit(lines)
        receiver.refuses = [status]

    receiver.commit = once
    with pytest.raises(SourceError, match="we/pairs"):
        push(made.pool)
    assert len(receiver.files) == 3
    assert "README.md" not in receiver.files, "the card is last"
    receiver.commit, receiver.refuses = commit, []
    done = push(made.pool)
    assert len(done.same) == 3
    assert len(receiver.files) == 3 + len(done.sent)


def test_without_a_repository_nothing_is_sent(made: Published, receiver: Receiver) -> None:
    made.set(hub={"repository": ""})
    made.published()
    with pytest.raises(ConfigurationError, match=r"hub\.repository"):
        push(made.pool)
    assert receiver.private is None
