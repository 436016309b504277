"""The examples of ``docs/service.md`` for nginx and Caddy, run in front of a service."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.servers import free_port
from clip_assets_tests.service.conftest import Served

TOO_MUCH = 17 << 20
"""Bytes: more than the examples let through."""


def example(beginning: str) -> str:
    """The block of the documents that begins so."""
    text = (CHECKOUT / "docs" / "service.md").read_text()
    blocks = re.findall(r"^```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if block.startswith(beginning)]
    return found


def program(name: str) -> str:
    """Where it is installed; tests do not install it. Debian's nginx is where root looks."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def running(command: list[str], port: int) -> Generator[httpx.Client]:
    """A proxy, and a client of it."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while True:
            assert process.poll() is None, process.communicate()[1].decode()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield http
    finally:
        process.terminate()
        process.communicate()


def is_a_front_of(served: Served, http: httpx.Client, given: str) -> None:
    """A search, a picture and the page come through; a body that is too large does not."""
    answer = http.post("/v1/search", json={"terms": [{"text": "cat"}], "k": 2})
    [first, _] = answer.json()["results"]
    assert first["caption"] == "cat"
    assert re.fullmatch(given, answer.headers["x-request-id"])
    picture = http.get(f"/v1/images/{first['uid']}")
    assert picture.content == served.http.get(f"/v1/images/{first['uid']}").content
    again = {"if-none-match": picture.headers["etag"]}
    assert http.get(f"/v1/images/{first['uid']}", headers=again).status_code == 304
    assert "html" in http.get("/").headers["content-type"]
    assert http.post("/v1/search", content=b" " * TOO_MUCH).status_code == 413


def test_nginx_takes_its_example_and_is_a_front(animals: Served, tmp_path: Path) -> None:
    nginx, port = program("nginx"), free_port()
    block = example("location / {").replace("http://127.0.0.1:1234", animals.url)
    folders = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}"
        f"server {{\nlisten 127.0.0.1:{port};\n{block}}}\n}}\n"
    )
    command = [nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with running(command, port) as http:
        is_a_front_of(animals, http, "[0-9a-f]{32}")


def test_caddy_takes_its_example_and_is_a_front(
    animals: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caddy, port = program("caddy"), free_port()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file, given = tmp_path / "Caddyfile", example("search.example.org {")
    file.write_text(given)
    told = ["--config", str(file), "--adapter", "caddyfile"]
    subprocess.run([caddy, "validate", *told], check=True, capture_output=True)
    own = given.replace("search.example.org", f"http://127.0.0.1:{port}")
    own = own.replace("127.0.0.1:1234", animals.url.removeprefix("http://"))
    file.write_text(f"{{\nadmin off\n}}\n{own}")
    with running([caddy, "run", *told], port) as http:
        is_a_front_of(animals, http, "[0-9a-f]{16}")
