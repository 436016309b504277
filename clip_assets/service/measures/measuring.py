"""What the service did, in numbers: for Prometheus, and in a few lines for people.

Names of clip-retrieval's back are kept, so that its dashboards go on; ours stand beside them. Each
service counts for itself.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds, seconds."""

KNN = {
    "full_knn_request_time": "whole requests",
    "download_time": "images fetched by url",
    "text_clip_inference_time": "texts encoded",
    "image_clip_inference_time": "images encoded",
    "metadata_get_time": "rows of results read",
    "knn_index_time": "neighbours found",
    "dedup_time": "near-copies left out",
    "safety_time": "safety of results judged",
    "image_prepro_time": "images prepared for the model",
    "text_prepro_time": "texts prepared for the model",
}
"""Histograms that clip-retrieval's back has. The last three have no times here: there is no safety
model, and preprocessing is part of inference."""

OF_STEP = {
    "request": "full_knn_request_time",
    "search": "knn_index_time",
    "rows": "metadata_get_time",
    "fold": "dedup_time",
}
"""Its names of our steps."""


MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of the text that Prometheus reads."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that is read when it is asked for."""

    name: str
    words: str
    value: Callable[[], float]
    grows: bool = False


class _Readings(Collector):
    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = [*readings]

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Each as it is now."""
        for reading in self._readings:
            kind = CounterMetricFamily if reading.grows else GaugeMetricFamily
            yield kind(reading.name, reading.words, value=reading.value())


class Measures:
    """Counts of one service.

    Args:
        readings: numbers that others keep.
    """

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Readings(readings))
        self._knn = {
            name: Histogram(name, f"Seconds: {words}", registry=self._registry, buckets=BUCKETS)
            for name, words in KNN.items()
        }
        self._requests = Histogram(
            "clip_assets_request_seconds",
            "Time of requests by endpoint and status",
            ["endpoint", "status"],
            registry=self._registry,
            buckets=BUCKETS,
        )
        self._steps = Histogram(
            "clip_assets_step_seconds",
            "Time of the steps of searches",
            ["step"],
            registry=self._registry,
            buckets=BUCKETS,
        )
        self._spent: dict[str, tuple[int, float]] = {}
        # Looking a label up takes a lock.
        self._known: dict[tuple[str, str], Histogram] = {}
        self._known_steps: dict[str, Histogram] = {}

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer; ``endpoint`` is a path of the API, never what a client wrote."""
        key = endpoint, str(status)
        if key not in self._known:
            self._known[key] = self._requests.labels(*key)
        self._known[key].observe(seconds)

    def steps(self, milliseconds: Mapping[str, float]) -> None:
        """Count the steps of a search."""
        for step, spent in milliseconds.items():
            if step not in self._known_steps:
                self._known_steps[step] = self._steps.labels(step)
            self._known_steps[step].observe(spent / 1000)

    def knn(self, milliseconds: Mapping[str, float], body: Mapping[str, Any]) -> None:
        """Count a request of clip-retrieval's knn endpoint."""
        kind = "text" if body.get("text") else "image"
        is_encoded = any(body.get(name) for name in ("text", "image", "image_url"))
        for step, spent in milliseconds.items():
            name = OF_STEP.get(step)
            if step == "encode" and is_encoded:
                name = f"{kind}_clip_inference_time"
            if name is not None:
                self._knn[name].observe(spent / 1000)
                calls, total = self._spent.get(name, (0, 0.0))
                self._spent[name] = calls + 1, total + spent / 1000
        self.steps({step: ms for step, ms in milliseconds.items() if step != "request"})

    def exposed(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def summary(self, spent: Mapping[str, tuple[int, float]] | None = None) -> str:
        """What requests of the knn endpoint took, step by step, each as a share of all time.

        Args:
            spent: calls and seconds of each of ``KNN``; None: those of this process.
        """
        known = {name: own for name, own in (spent or self._spent).items() if name in KNN}
        calls, total = known.get("full_knn_request_time", (0, 0.0))
        if not calls:
            return "no request of /knn-service yet\n"
        steps = sorted(
            ((name, *own) for name, own in known.items()),
            key=lambda step: -step[2],
        )
        lines = [
            f"{calls} requests of /knn-service, {total / calls:.4f} s each on average",
            "",
            f"{'step':<28}{'':<32}{'calls':>8}{'average':>12}{'share':>8}",
        ]
        lines += [
            f"{name:<28}{KNN[name]:<32}{number:>8}{took / number:>11.4f}s{took / total:>8.1%}"
            for name, number, took in steps
            if name != "full_knn_request_time"
        ]
        return "\n".join(lines) + "\n"
