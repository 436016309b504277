"""One training: a subset, a seed, and the answers on the way; it goes on where it was stopped.

What a step does is the matter of ``encoders.openclip.trainee``, which sample comes when that of
``streaming``.
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_assets.errors import ConfigurationError
from clip_assets.experiment.comparison import Comparison
from clip_assets.experiment.judging import Hits, Questions
from clip_assets.files.whole import whole_file
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.decoded import Decoded, TrainingBatch
from clip_assets.streaming.loader import Loader
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.stream import Stream

logger = logging.getLogger(__name__)

KEPT_EVERY_S = 60.0
LOSSES = 100
"""Points of a curve of losses."""


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Args:
        curve: of each look: ``samples`` seen, and the share of right answers by metric.
        losses: pairs of samples seen and mean loss since the last one.
        answers: of the last look, by metric.
        told: other figures.
    """

    curve: list[dict[str, float]]
    losses: list[list[float]]
    answers: dict[str, Hits]
    told: dict[str, Any]


class Training:
    """One training.

    Args:
        plan: the experiment.
        samples: of its subset.
        seed: of first weights and order.
        folder: its own.
        device: see ``Trainee``.
    """

    def __init__(
        self,
        plan: Comparison,
        samples: PoolSamples,
        seed: int,
        folder: Path,
        device: str | None = None,
    ) -> None:
        self._plan, self._samples, self._seed, self._folder = plan, samples, seed, folder
        self._device = device

    @property
    def result(self) -> Trained | None:
        """What it gave, None if it is not done."""
        file = self._folder / "result.json"
        if not file.exists():
            return None
        told = json.loads(file.read_text())
        with np.load(self._folder / "answers.npz", allow_pickle=False) as stored:
            answers = {name: stored[name] for name in stored.files}
        return Trained(told["curve"], told["losses"], answers, told["told"])

    def run(self, questions: Questions) -> Trained:
        """Train, or go on, unless it is done.

        Raises:
            ConfigurationError: the subset has no whole batch.
            DamagedError: what was kept of it is damaged.
        """
        if (done := self.result) is not None:
            return done
        from clip_assets.encoders.openclip.trainee import Regime, Trainee

        plan = self._plan
        if len(self._samples) < plan.batch_size:
            raise ConfigurationError(
                f"subset {self._samples.name}",
                f"{len(self._samples):,} samples",
                f"a batch of {plan.batch_size:,}",
                "Make the batches smaller, or leave the subset out.",
            )
        regime = Regime(
            plan.model,
            plan.steps,
            plan.learning_rate,
            plan.warmup,
            plan.weight_decay,
            self._seed,
        )
        trainee = Trainee(regime, self._device)
        stream = Stream(self._samples, seed=self._seed, batch_size=plan.batch_size)
        batches = Batches(stream, rank=0, world_size=1, drop_last=True)
        loader = Loader(Decoded(stream, CenterCrop(trainee.side)), batches)
        kept = self._folder / "kept.pt"
        told: dict[str, Any] = {"curve": [], "losses": [], "open": [], "seconds": 0.0}
        if kept.exists():
            told = trainee.go_on(kept)
            loader.load_state_dict(told.pop("loader"))
            logger.info("%s: goes on after step %d", self._folder.name, trainee.step)
        return self._train(trainee, loader, questions, told)

    def _train(
        self, trainee: Any, loader: Loader, questions: Questions, told: dict[str, Any]
    ) -> Trained:
        plan, looks = self._plan, set(self._plan.looked_at)
        answers: dict[str, Hits] = {}
        started = saved = time.monotonic()
        before = told["seconds"]
        for batch in _endless(loader):
            if trainee.step >= plan.steps:
                break
            if len(batch) < 2:
                continue
            told["open"].append(trainee.learn(batch.images, batch.captions))
            seen = trainee.step * plan.batch_size
            if trainee.step % max(1, plan.steps // LOSSES) == 0 or trainee.step == plan.steps:
                told["losses"].append([seen, round(float(np.mean(told["open"])), 5)])
                told["open"] = []
            told["seconds"] = before + time.monotonic() - started
            if trainee.step in looks:
                answers = questions.ask(trainee)
                shares = {name: round(float(hits.mean()), 5) for name, hits in answers.items()}
                told["curve"].append({"samples": seen} | shares)
                logger.info("%s: %s samples: %s", self._folder.name, f"{seen:,}", shares)
            if time.monotonic() - saved > KEPT_EVERY_S and trainee.step < plan.steps:
                self._keep(trainee, loader, told)
                saved = time.monotonic()
        return self._finish(told, answers or questions.ask(trainee))

    def _keep(self, trainee: Any, loader: Loader, told: dict[str, Any]) -> None:
        with whole_file(self._folder / "kept.pt") as part:
            trainee.keep(part, told | {"loader": loader.state_dict()})

    def _finish(self, told: dict[str, Any], answers: dict[str, Hits]) -> Trained:
        figures = {
            "samples_of_subset": len(self._samples),
            "left_out": self._samples.left_out,
            "seconds": round(told["seconds"], 1),
        }
        with whole_file(self._folder / "answers.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, **answers)  # pyright: ignore[reportArgumentType]
        content = {"curve": told["curve"], "losses": told["losses"], "told": figures}
        with whole_file(self._folder / "result.json") as part:
            part.write_text(json.dumps(content))
        (self._folder / "kept.pt").unlink(missing_ok=True)
        return Trained(told["curve"], told["losses"], answers, figures)


def _endless(loader: Loader) -> Iterator[TrainingBatch]:
    while True:
        yield from loader
