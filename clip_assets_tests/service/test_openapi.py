"""Everything that the service's OpenAPI allows, and much that it does not, is answered in form."""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.transport import Response

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
