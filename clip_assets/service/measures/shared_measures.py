"""What the processes of one service tell of themselves together: their measures, added up.

Each writes its own every second to a folder that they share; whoever is asked adds its own of this
moment to the others' latest. Of a process that has ended counts stay, so that sums do not fall,
and what it held at a time does not. What is measured is said by ``measuring``.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from clip_assets.service.measures.measuring import Measures

EVERY_S = 1.0

_ENDING = ".prom"

_BORN = "_created"
# When a count began: of several the first.


class SharedMeasures:
    """The measures of all processes of a service.

    Args:
        own: those of this process.
        folder: that all of them share.
    """

    def __init__(self, own: Measures, folder: Path) -> None:
        self._own, self._folder = own, folder
        self._file = folder / f"{os.getpid()}{_ENDING}"
        self._ends = threading.Event()
        self._writing = threading.Lock()

    def start(self) -> None:
        """Write now, and from now on."""
        self._write()
        threading.Thread(target=self._run, name="clip-assets-measures", daemon=True).start()

    def close(self) -> None:
        """Write for the last time."""
        self._ends.set()
        self._write()

    def exposed(self) -> bytes:
        """The text that Prometheus reads, of all processes."""
        others = [
            (psutil.pid_exists(int(file.stem)), text)
            for file in sorted(self._folder.glob(f"*{_ENDING}"))
            if file != self._file and (text := _read(file)) is not None
        ]
        return added_up([(True, self._own.exposed().decode()), *others])

    def summary(self) -> str:
        """See ``Measures.summary``, of all processes."""
        return self._own.summary(spent_in(self.exposed().decode()))

    def _run(self) -> None:
        while not self._ends.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        part = self._file.with_suffix(".part")
        with self._writing:
            part.write_bytes(self._own.exposed())
            part.replace(self._file)


def ready(folder: Path, pid: int) -> bool:
    """Whether a process has begun to serve."""
    return (folder / f"{pid}{_ENDING}").exists()


def added_up(texts: Iterable[tuple[bool, str]]) -> bytes:
    """Sums of the same measures of several processes.

    Args:
        texts: of each, whether it lives, and what it exposes.
    """
    metrics: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for lives, text in texts:
        for metric in text_string_to_metric_families(text):
            is_born = metric.name.endswith(_BORN)
            if metric.type == "gauge" and not is_born and not lives:
                continue
            metrics.setdefault(metric.name, metric)
            own = sums.setdefault(metric.name, {})
            for sample in metric.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                before = own.get(key)
                if before is None:
                    own[key] = sample.value
                else:
                    own[key] = min(before, sample.value) if is_born else before + sample.value
    registry = CollectorRegistry()
    registry.register(_Sums(metrics, sums))
    return generate_latest(registry)


class _Sums(Collector):
    def __init__(self, metrics: dict[str, Metric], sums: dict[str, dict[tuple, float]]) -> None:
        self._metrics, self._sums = metrics, sums

    def collect(self) -> Iterator[Metric]:
        """Each measure with its sums."""
        for name, metric in self._metrics.items():
            total = Metric(name, metric.documentation, metric.type)
            for (sample, labels), value in self._sums[name].items():
                total.add_sample(sample, dict(labels), value)
            yield total


def spent_in(text: str) -> dict[str, tuple[int, float]]:
    """Calls and seconds of every histogram without labels."""
    calls: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            if not sample.labels and sample.name == f"{metric.name}_count":
                calls[metric.name] = sample.value
            elif not sample.labels and sample.name == f"{metric.name}_sum":
                seconds[metric.name] = sample.value
    return {name: (int(number), seconds[name]) for name, number in calls.items() if number}


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None
