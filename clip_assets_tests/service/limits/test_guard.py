"""What passes the guard, and what every answer carries."""

from pathlib import Path

import pytest

from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits.offer import MIB, Offer
from clip_assets_tests.service.conftest import Served, pool_of_animals, serving


def test_every_answer_has_an_id_and_safe_headers(animals: Served) -> None:
    given = {"x-request-id": "abc-1"}
    for path in ("/", "/page/index.html", "/v1/indices", "/nowhere", "/health", "/openapi.json"):
        answer = animals.http.get(path, headers=given)
        assert answer.headers["x-request-id"] == "abc-1"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    own = animals.http.get("/nowhere", headers={"x-request-id": "a\tb"})
    assert own.json()["error"]["request_id"] == own.headers["x-request-id"] != "a\tb"


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py"])
def test_files_beside_the_page_are_not_served(animals: Served, path: str) -> None:
    assert animals.http.get(path).status_code == 404


def test_a_body_that_is_too_large_is_refused(animals: Served) -> None:
    assert animals.http.post("/v1/search", content=b" " * (17 * MIB)).status_code == 413
    # Without a length it is counted as it comes.
    pieces = (b" " * MIB for _ in range(17))
    answer = animals.http.post("/v1/search", content=pieces)
    assert answer.status_code == 413
    assert "16 MiB" in answer.json()["error"]["expected"]


def test_a_page_from_elsewhere_cannot_ask_by_its_own_name(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    offer = Offer(hosts=frozenset({"127.0.0.1"}))
    with serving(Hosting([HostedIndex("animals", made.pool)]), offer) as served:
        assert served.http.get("/v1/indices").status_code == 200
        answer = served.http.get("/v1/indices", headers={"host": "evil.example:80"})
        assert answer.status_code == 421
