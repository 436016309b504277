"""Every measure that the dashboard asks for is one that the service tells."""

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from clip_assets_tests.service.conftest import Served, search

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"

MEASURE = re.compile(r"\b[a-z_]+(?:_bucket|_count|_sum|_total|_working|_waiting)\b")

LABEL = re.compile(r"\bby \(([a-z, ]+)\)|(\w+)(?==~|!~|=)")


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_asks_for_what_is_there(animals: Served) -> None:
    search(animals, {"text": "cat"})
    body = {"text": "cat", "modality": "image", "num_images": 1, "indice_name": None}
    assert animals.http.post("/knn-service", json=body).status_code == 200
    families = list(text_string_to_metric_families(animals.http.get("/metrics").text))
    samples = [sample for family in families for sample in family.samples]
    labels = {label for sample in samples for label in sample.labels}
    asked = {name for query in queries() for name in MEASURE.findall(query)}
    assert len(asked) > 10
    assert asked <= {sample.name for sample in samples}
    # Each query names a measure, and no label that there is not.
    for query in queries():
        assert MEASURE.search(query), query
        for grouped, matched in LABEL.findall(query):
            assert {*grouped.split(", "), matched} - {""} <= labels, query
