"""Everything that the service's OpenAPI allows, and much that it does not, is answered in form."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.transport import Response

from clip_assets.service.limits.wire import (
    BatchRequest,
    EmbeddingsRequest,
    SearchRequest,
    SearchTerm,
    SubsetRequest,
)
from clip_assets_tests.service.conftest import Served

SETTINGS = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_no_request_makes_the_service_fail(animals: Served) -> None:
    document = animals.http.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:
        for mode in schemathesis.GenerationMode:

            @SETTINGS
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                answer: Response = case.call(base_url=animals.url, timeout=60)
                assert answer.status_code < 500 or answer.headers.get("retry-after"), case
                if answer.status_code >= 400:
                    assert answer.json()["error"].keys() >= {"where", "advice", "request_id"}

            # There is nothing wrong to say where nothing is asked for.
            with suppress(Unsatisfiable):
                ask()


def test_the_reference_loads_nothing_of_others_and_has_every_field(animals: Served) -> None:
    document = animals.http.get("/openapi.json").json()
    answer = animals.http.get("/docs")
    assert (answer.status_code, "<script" in answer.text) == (200, False)
    loaded = re.findall(r"(?:href|src)=[\"']([^\"']+)", answer.text)
    assert loaded
    assert all(re.match("#|/[a-z]", one) for one in loaded)
    for file in [one for one in loaded if one.startswith("/")]:
        assert animals.http.get(file).status_code == 200
    for name in [one[1:] for one in loaded if one.startswith("#")]:
        assert f"id='{name}'" in answer.text
    for path in document["paths"]:
        assert f" {path}</code>" in answer.text
    for one in (SearchRequest, BatchRequest, EmbeddingsRequest, SubsetRequest, SearchTerm):
        for field in one.model_fields:
            assert f"<code>{field}</code>" in answer.text
    assert "from 1, to 1,000, else 40" in answer.text


def test_answers_are_described_as_what_they_are(animals: Served) -> None:
    document = animals.http.get("/openapi.json").json()
    answers = document["paths"]["/v1/search"]["post"]["responses"]["200"]
    assert answers["content"]["application/json"]["schema"]["type"] == "object"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", {"terms": [{"text": "cat"}]}),
        ("/v1/search/batch", {"queries": [{"terms": [{"text": "cat"}]}]}),
        ("/v1/embeddings", {"texts": ["cat"]}),
        ("/v1/subsets", {"terms": [{"text": "cat"}]}),
    ],
)
def test_json_is_taken_whatever_its_type_is_said_to_be(
    animals: Served, path: str, body: dict[str, Any]
) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = animals.http.post(path, content=json.dumps(body), headers=form)
    assert answer.status_code == 200, answer.text
