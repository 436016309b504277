"""What the steps of a request take; it is told with the answer, and measured."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Took:
    """Milliseconds of each step of a request."""

    steps: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count some time of a step."""
        self.steps[name] = round(self.steps.get(name, 0) + 1000 * seconds, 3)
