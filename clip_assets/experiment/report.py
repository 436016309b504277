"""An experiment as a table, as json and as sentences; how it looks is the matter of ``html``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clip_assets.experiment.comparison import Comparison, short
from clip_assets.experiment.intervals import LEVEL, Estimate, difference, share
from clip_assets.experiment.training import Trained


@dataclass(frozen=True)
class SubsetLine:
    """A subset in the table.

    Args:
        subset: its name for people.
        samples: that it has; None where nobody knows.
        seen: how often each was seen.
        trainings: how many there were.
        shares: of right answers, by metric.
        against: differences to the first subset, by metric; empty for that one itself.
        curves: of each training, by seed.
        losses: likewise.
    """

    subset: str
    samples: int | None
    seen: float | None
    trainings: int
    shares: dict[str, Estimate]
    against: dict[str, Estimate]
    curves: dict[str, list[dict[str, float]]]
    losses: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Table:
    """What an experiment made.

    Args:
        plan: what was compared.
        lines: of the subsets, in the plan's order.
        missing: subsets without a training that is done.
    """

    plan: dict[str, Any]
    lines: list[SubsetLine]
    missing: list[str]

    @property
    def metrics(self) -> list[str]:
        """What was asked."""
        return list(self.lines[0].shares) if self.lines else []

    def sentences(self) -> list[str]:
        """What can be said of each subset against the first."""
        if not self.lines:
            return []
        first = self.lines[0].subset
        told: list[str] = []
        for line in self.lines[1:]:
            for metric, made in line.against.items():
                kind = "beats" if made.value > 0 else "is beaten by"
                verb = kind if made.is_clear else "cannot be told from"
                told.append(
                    f"{line.subset} {verb} {first} in {metric}: {100 * made.value:+.1f} points "
                    f"[{100 * made.low:+.1f}, {100 * made.high:+.1f}]"
                )
        if self.lines[1:] and min(line.trainings for line in self.lines) == 1:
            told.append(
                "Each subset was trained once: intervals are of the held-out samples alone, and "
                "another seed may shift them. Name several: --seeds 0,1,2."
            )
        return told

    def json(self) -> str:
        """Everything, as one document."""
        return json.dumps(asdict(self) | {"sentences": self.sentences(), "level": LEVEL}, indent=1)

    def text(self) -> str:
        """The table for a terminal."""
        head = ["subset", "samples", "times seen", *self.metrics]
        rows = [head, *(_cells(line, self.metrics) for line in self.lines)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in [*lines, "", *self.sentences()])


def table(plan: Comparison, trained: Mapping[str, Mapping[int, Trained]]) -> Table:
    """What trainings made.

    Args:
        plan: the experiment.
        trained: what is done, by subset and seed.
    """
    names = short(plan.subsets)
    lines: list[SubsetLine] = []
    base: dict[str, Any] = {}
    for subset in plan.subsets:
        done = trained.get(subset) or {}
        if not done:
            continue
        seeds = sorted(done)
        metrics = list(done[seeds[0]].answers)
        answers = {name: np.stack([done[seed].answers[name] for seed in seeds]) for name in metrics}
        base = base or answers
        samples = done[seeds[0]].told["samples_of_subset"]
        lines.append(
            SubsetLine(
                names[subset],
                samples,
                round(plan.steps * plan.batch_size / samples, 2),
                len(seeds),
                {name: share(answers[name]) for name in metrics},
                {}
                if base is answers
                else {name: difference(answers[name], base[name]) for name in metrics},
                {str(seed): done[seed].curve for seed in seeds},
                {str(seed): done[seed].losses for seed in seeds},
            )
        )
    missing = [names[subset] for subset in plan.subsets if not trained.get(subset)]
    return Table(asdict(plan), lines, missing)


def cell(made: Estimate) -> str:
    """A share in percent with its interval."""
    return f"{100 * made.value:.1f} [{100 * made.low:.1f}, {100 * made.high:.1f}]"


def _cells(line: SubsetLine, metrics: Sequence[str]) -> list[str]:
    return [
        line.subset,
        "?" if line.samples is None else f"{line.samples:,}",
        "?" if line.seen is None else f"{line.seen:g}",
        *(cell(line.shares[name]) for name in metrics),
    ]
