"""Each answer is a line of the access log, also of endpoints that are called past the framework."""

import json
import logging
import time
from collections.abc import Iterator

import pytest

from clip_assets.service.measures.access import access
from clip_assets_tests.service.conftest import Served, error, search


class Heard(logging.Handler):
    """Keeps what is written of requests from now on; those before may not be written yet."""

    def __init__(self) -> None:
        super().__init__()
        self._begun_s = round(time.time(), 3)  # as the lines have it
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        lines = map(json.loads, record.getMessage().split("\n"))
        self.lines += [line for line in lines if line["time"] >= self._begun_s]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    handler = Heard()
    access.addHandler(handler)
    # A command that ran in this process before may have left the log off.
    monkeypatch.setattr(access, "disabled", False)
    level = access.level
    # Not by the attribute: loggers remember what is enabled.
    access.setLevel(logging.INFO)
    yield handler
    access.setLevel(level)
    access.removeHandler(handler)


def test_lines_have_the_endpoint_and_nothing_of_the_query(animals: Served, heard: Heard) -> None:
    search(animals, {"text": "cat"})
    error(animals.http.post("/v1/search", json={"terms": []}), 422)
    assert animals.http.get("/v1/search").status_code == 405
    assert animals.http.get("/nowhere/cat").status_code == 404
    while len(heard.lines) < 4:
        time.sleep(0.01)
    told = [(line["method"], line["endpoint"], line["status"]) for line in heard.lines]
    assert told[:2] == [("POST", "/v1/search", 200), ("POST", "/v1/search", 422)]
    assert [status for *_, status in told[2:]] == [405, 404]
    assert "cat" not in json.dumps(heard.lines)
    assert len({line["request_id"] for line in heard.lines}) == 4
