"""A hub that does not answer costs one look."""

import socket
from http.server import BaseHTTPRequestHandler

import pytest
from huggingface_hub import constants

from clip_assets.encoders.openclip import hub
from clip_assets_tests.servers import WebServer, serving


def test_without_an_answer_models_come_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with hub.asked_once():
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()


def test_any_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WebServer(BaseHTTPRequestHandler)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    with serving(server), hub.asked_once():
        assert not constants.is_offline_mode()
