"""The same comparison by open_clip's own trainer: its commands, and what its runs wrote.

Scales and what goes with them are DataComp's; a run reads the tars of ``layout.SUBSET_SHARDS``.
What its trainer writes of zero-shot accuracy and retrieval is a share without the single answers,
so intervals are those of a share (Wilson's), and differences are not paired.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import MissingArtifactError
from clip_assets.experiment.intervals import Estimate
from clip_assets.experiment.report import SubsetLine, Table
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool

TOP1 = "imagenet-zeroshot-val-top1"
IMAGENET_SAMPLES = 50_000
METRICS = {TOP1: "accuracy", "image_to_text_R@1": "image_to_text@1"} | {
    "text_to_image_R@1": "text_to_image@1"
}
"""Of its results, by ours."""

CHECKPOINTS = 8
"""Into which a training is cut, so that it can go on."""

Z = 1.959964


@dataclass(frozen=True, slots=True)
class Scale:
    """One of DataComp's.

    Args:
        model: of open_clip.
        samples: seen by a training.
        batch_size: of all GPUs together.
        learning_rate: the highest.
        warmup: steps.
        beta2: Adam's, None for open_clip's own.
    """

    model: str
    samples: int
    batch_size: int
    learning_rate: float
    warmup: int
    beta2: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """Where open_clip's trainer runs.

    Args:
        gpus: of one machine.
        imagenet: its folder of validation images, or empty.
        retrieve: tars with captions, or empty.
    """

    gpus: int
    imagenet: str = ""
    retrieve: str = ""


SCALES = {
    "small": Scale("ViT-B-32", 12_800_000, 4096, 5e-4, 500),
    "medium": Scale("ViT-B-32", 128_000_000, 4096, 5e-4, 500),
    "large": Scale("ViT-B-16", 1_280_000_000, 8192, 5e-4, 500),
    "xlarge": Scale("ViT-L-14", 12_800_000_000, 90_112, 1e-3, 10_000, 0.95),
}


def commands(
    pool: Pool,
    subsets: Sequence[str],
    scale: Scale,
    output: str,
    machine: Machine,
) -> str:
    """A shell script that trains on each subset, one after the other; begun again, it goes on.

    Args:
        pool: whose subsets.
        subsets: their names.
        scale: how long and what.
        output: folder of open_clip's logs.
        machine: where.

    Raises:
        MissingArtifactError: a subset has no shards.
    """
    lines = ["#!/bin/sh", "set -e"]
    for name in subsets:
        count, tars = _tars(pool, name)
        told: dict[str, object] = {
            "train-data": tars,
            "dataset-type": "webdataset",
            "train-num-samples": scale.samples // CHECKPOINTS,
            "epochs": CHECKPOINTS,
            "model": scale.model,
            "batch-size": scale.batch_size // machine.gpus,
            "lr": scale.learning_rate,
            "warmup": scale.warmup,
            "workers": max(1, min(4, count // machine.gpus)),
            "precision": "amp",
            "logs": output,
            "name": name,
            "resume": "latest",
            "zeroshot-frequency": CHECKPOINTS,
            "val-frequency": CHECKPOINTS,
        }
        told |= {"beta2": scale.beta2} if scale.beta2 else {}
        told |= {"imagenet-val": machine.imagenet} if machine.imagenet else {}
        told |= {"val-data": machine.retrieve} if machine.retrieve else {}
        flags = ["dataset-resampled", "save-most-recent", "local-loss", "gather-with-grad"]
        words = ["torchrun", "--nproc_per_node", str(machine.gpus), "-m", "open_clip_train.main"]
        for option, value in told.items():
            words += [f"--{option}", str(value)]
        lines.append(shlex.join([*words, *(f"--{flag}" for flag in flags)]))
    return "\n".join(lines) + "\n"


def results(subsets: Sequence[str], scale: Scale, output: str) -> Table:
    """What the trainer's runs wrote so far.

    Args:
        subsets: names of the runs, the first is what others are compared with.
        scale: of them.
        output: folder of its logs.
    """
    lines: list[SubsetLine] = []
    base: dict[str, tuple[float, int]] = {}
    for name in subsets:
        looks = _results(Path(output) / name / "checkpoints" / "results.jsonl")
        last = looks[-1] if looks else {}
        known = {
            ours: (float(last[theirs]), _samples(last, theirs))
            for theirs, ours in METRICS.items()
            if theirs in last
        }
        if not known:
            continue
        base = base or known
        against = {
            metric: _difference(known[metric], base[metric])
            for metric in known
            if base is not known and metric in base
        }
        curve = [
            {"samples": one.get("epoch", CHECKPOINTS) * scale.samples / CHECKPOINTS}
            | {ours: one[theirs] for theirs, ours in METRICS.items() if theirs in one}
            for one in looks
        ]
        shares = {metric: _wilson(*told) for metric, told in known.items()}
        lines.append(SubsetLine(name, None, None, 1, shares, against, {"0": curve}, {}))
    plan = {
        "samples": scale.samples,
        "batch_size": scale.batch_size,
        "model": scale.model,
        "seeds": [0],
    }
    done = {line.subset for line in lines}
    return Table(plan, lines, [name for name in subsets if name not in done])


def _tars(pool: Pool, name: str) -> tuple[int, str]:
    """How many tars a subset has, and their names as webdataset takes them."""
    made = pool.catalog.require(layout.SUBSET_SHARDS, Key(name))
    tars = sorted(output.path for output in made.outputs if output.path.endswith(".tar"))
    if not tars:
        raise MissingArtifactError(
            f"subset {name}",
            "no tars",
            "shards of the subset",
            f"Run: clip-assets run --select {layout.SUBSET_SHARDS}",
        )
    folder = tars[0].rpartition("/")[0]
    first, last = (path.rpartition("/")[2].removesuffix(".tar") for path in (tars[0], tars[-1]))
    return len(tars), pool.store.uri(f"{folder}/{{{first}..{last}}}.tar")


def _results(file: Path) -> list[dict[str, float]]:
    """Lines of a run's results; one that was torn by a kill is none."""
    looks: list[dict[str, float]] = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            looks.append(told)
    return looks


def _samples(told: dict[str, float], metric: str) -> int:
    return IMAGENET_SAMPLES if metric == TOP1 else max(1, int(told.get("num_samples", 1)))


def _wilson(share: float, samples: int) -> Estimate:
    """The interval of a share, by Wilson, J. Am. Stat. Assoc. 22, 1927."""
    weight = Z * Z / samples
    middle = (share + weight / 2) / (1 + weight)
    half = Z * sqrt(share * (1 - share) / samples + weight / (4 * samples)) / (1 + weight)
    return Estimate(round(share, 5), round(middle - half, 5), round(middle + half, 5), 1)


def _difference(one: tuple[float, int], other: tuple[float, int]) -> Estimate:
    value = one[0] - other[0]
    half = Z * sqrt(sum(share * (1 - share) / samples for share, samples in (one, other)))
    return Estimate(round(value, 5), round(value - half, 5), round(value + half, 5), 1)
