"""What an experiment compares, and where its files are.

A folder holds one experiment: its plan is written first, and another one is refused there.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clip_assets.errors import ConfigurationError
from clip_assets.files.whole import whole_file

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An experiment.

    Args:
        subsets: their names, or paths of files of uids; the first is what others are compared with.
        samples: that every training sees, whatever its subset has.
        batch_size: samples of a step.
        model: see ``Regime``.
        learning_rate: likewise.
        warmup: likewise, steps.
        weight_decay: likewise.
        seeds: every subset is trained once with each.
        classify: held-out images with classes, or empty.
        retrieve: held-out images with captions, or empty.
        class_field: of the json of a tar's sample, that says its class.
        templates: texts of a class, ``{}`` in the place of its name.
        looks: how often a model is asked while it learns, the last time at its end.
    """

    subsets: tuple[str, ...]
    samples: int
    batch_size: int
    model: str
    learning_rate: float
    warmup: int
    weight_decay: float
    seeds: tuple[int, ...]
    classify: str
    retrieve: str
    class_field: str = "class"
    templates: tuple[str, ...] = (TEMPLATE,)
    looks: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ConfigurationError: it cannot.
        """
        if len(set(self.subsets)) < len(self.subsets) or not self.subsets:
            raise _wrong("names of subsets", ", ".join(self.subsets), "some, each once")
        if not self.classify and not self.retrieve:
            raise _wrong("held-out data", "none", "--classify or --retrieve, or both")
        if self.batch_size < 2 or self.samples < self.batch_size:
            raise _wrong("samples", f"{self.samples:,}", f"batches of {self.batch_size:,}")
        if not self.seeds or self.looks < 1:
            raise _wrong("seeds", "none", "at least one, and one look")
        if not all("{}" in template for template in self.templates):
            raise _wrong("template", ", ".join(self.templates), "{} where the class goes")

    @property
    def steps(self) -> int:
        """Of every training."""
        return self.samples // self.batch_size

    @property
    def looked_at(self) -> list[int]:
        """Steps after which a model is asked, ascending, the last one its last."""
        marks = {round(self.steps * number / self.looks) for number in range(1, self.looks + 1)}
        return sorted(marks - {0})


@dataclass(frozen=True, slots=True)
class Folder:
    """Where an experiment's files are."""

    path: Path

    def run(self, subset: str, seed: int) -> Path:
        """Folder of one training."""
        name = subset.rstrip("/").rpartition("/")[2].removesuffix(".npy")
        return self.path / "runs" / f"{name}-{seed}"

    def claim(self, plan: Comparison, digests: dict[str, str]) -> None:
        """Make the folder that of a plan.

        Args:
            plan: the experiment.
            digests: of the samples of each subset.

        Raises:
            ConfigurationError: it is another one's.
        """
        names = [self.run(subset, 0) for subset in plan.subsets]
        if len(set(names)) < len(names):
            raise _wrong("names of subsets", ", ".join(plan.subsets), "files of different names")
        told = json.loads(json.dumps({"plan": asdict(plan), "samples": digests}))
        file = self.path / "plan.json"
        if not file.exists():
            with whole_file(file) as part:
                part.write_text(json.dumps(told, indent=1))
        known = _read(file)
        if known == told:
            return
        differing = [name for name in told["plan"] if _differ(known, told, name)]
        raise ConfigurationError(
            str(self.path),
            f"an experiment with other {', '.join(differing) or 'samples in its subsets'}",
            "this one, or nothing",
            "Choose another --output, or remove that folder.",
        )


def short(subsets: Sequence[str]) -> dict[str, str]:
    """A subset's name for people, by its own."""
    return {one: one.rstrip("/").rpartition("/")[2].removesuffix(".npy") for one in subsets}


def _read(file: Path) -> dict[str, object]:
    try:
        known = json.loads(file.read_text())
    except ValueError as error:
        raise _wrong(str(file), "no json", "the plan of an experiment") from error
    return known if isinstance(known, dict) else {}


def _differ(known: dict[str, object], told: dict[str, dict[str, object]], name: str) -> bool:
    plan = known.get("plan")
    return not isinstance(plan, dict) or plan.get(name) != told["plan"][name]


def _wrong(where: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(where, found, expected, "See: clip-assets experiment --help")
