"""The command that serves, as a process."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from clip_assets.layout import Key
from clip_assets_tests.commands.conftest import Cli, Numbered
from clip_assets_tests.pools import BIN


@contextmanager
def serving(*arguments: str) -> Generator[tuple[str, "subprocess.Popen[str]"]]:
    """``clip-assets serve``, its url and its process."""
    process = subprocess.Popen(
        [BIN / "clip-assets", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CLIP_ASSETS_ROOT": "/nowhere"},
    )
    try:
        assert process.stdout is not None
        told = re.search(r"http://\S+", process.stdout.readline())
        assert told, process.communicate()[1]
        yield told[0], process
    finally:
        process.kill()
        process.communicate()


def test_a_pool_is_served_until_a_signal_comes(made: Numbered) -> None:
    made.embed(0, 30)
    made.index()
    vector = made.vectors(Key("00000"))[7].tolist()
    with serving(made.store.uri()) as (url, process):
        assert httpx.get(f"{url}/ready").json()["ready"]
        body = {"terms": [{"embedding": vector}], "k": 1}
        [found] = httpx.post(f"{url}/v1/search", json=body).json()["results"]
        assert found["caption"] == "7"
        assert "html" in httpx.get(url).headers["content-type"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_a_pool_that_cannot_be_served_is_told(run: Cli, made: Numbered) -> None:
    refused = run("serve", made.store.uri())
    assert refused.exit_code == 2
    assert "expected a served version" in refused.stderr
    assert run("serve", "a", "b", "--pool", "c.yaml").exit_code == 2


def test_a_port_that_is_taken_is_told(run: Cli, made: Numbered) -> None:
    made.embed(0, 30)
    made.index()
    with serving(made.store.uri()) as (url, _):
        refused = run("serve", made.store.uri(), "--port", url.rpartition(":")[2])
        assert refused.exit_code == 2
        assert "a port that is free" in refused.stderr


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (("--cors-origin", "https://example.org/"), "origin: found 'https://example.org/'"),
        (("--cors-origin", "example.org"), "as browsers say it: https://example.org"),
        (("--allow-host", "example.org:8080"), "without a scheme and a port"),
        (("--allow-host", "https://example.org"), "host: found 'https://example.org'"),
        (("--clip-model", "ViT-B/32"), "a pool's model is in its settings"),
    ],
)
def test_options_that_could_never_help_are_told(
    run: Cli, made: Numbered, option: tuple[str, str], expected: str
) -> None:
    made.embed(0, 30)
    made.index()
    refused = run("serve", made.store.uri(), *option)
    assert refused.exit_code == 2
    assert expected in refused.stderr


@pytest.mark.parametrize("content", [b"\xde\xad", b"", b"two words", b"a" * 100_000 + b"\n\x1b"])
def test_a_file_without_a_token_is_told(run: Cli, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    refused = run("serve", "--token-file", str(tmp_path / "token"))
    assert refused.exit_code == 2
    assert "openssl rand -hex 32" in refused.stderr


def test_a_client_that_is_still_sending_when_a_signal_comes_is_cut_off_quietly(
    made: Numbered,
) -> None:
    made.embed(0, 30)
    made.index()
    with serving(made.store.uri()) as (url, process):
        host, port = url.removeprefix("http://").strip("/").split(":")
        head = f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + b"{")
            # The service has seen it when it answers another.
            assert httpx.get(f"{url}/ready").json()["ready"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
