"""Trains the tiny CLIP of the demo from scratch, with open_clip's own loss.

Three phases: easy images; then all images that show one pair, as before in batches with one image
of each pair, which hold no false negatives, and mostly with short captions; then rich captions,
where such batches take turns with random ones.
What is learnt is measured by ``evaluation``.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from clip_assets.demo.captions import RICH_CAPTIONS, SHORT_CAPTIONS
from clip_assets.demo.scenes import TRAINED_PAIRS
from clip_assets.errors import ConfigurationError
from tools.tinyclip.learner import Learner
from tools.tinyclip.model import (
    CONTEXT_TOKENS,
    MODEL_FOLDER,
    Vocabulary,
    save_model,
    untrained_model,
)
from tools.tinyclip.trainingset import TrainingSet, joined, render_training_set

logger = logging.getLogger(__name__)

MIN_SCENES = 12_000
"""Fewer leave some pair without an easy image."""

RANDOM_BATCH = 256
LEARNING_RATE = 2e-3
WARMUP_STEPS = 100
EASY_UNTIL = 0.12
SHORT_UNTIL = 0.45
SHORT_SHARE_EARLY = 0.85
SHORT_SHARE_LATE = 0.25

UNKNOWN_WORD_SHARE = 0.15
"""A caption in seven meets one to three words that the model does not know, so that in a search an
unknown word changes little."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the weights, on one kind of processor and one version of torch."""

    scenes: int = 60_000
    steps: int = 4800
    seed: int = 0
    save_every: int = 600


@dataclass(frozen=True, slots=True)
class Lesson:
    """The training set as the loop reads it: ``tokens`` is (n, 8, 32) in a small vocabulary."""

    images: TrainingSet
    tokens: npt.NDArray[np.int64]
    vocabulary: Vocabulary

    def rows_by_pair(self, *, easy: bool) -> list[npt.NDArray[np.int64]]:
        """For every trained pair the rows that show it alone.

        Raises:
            ConfigurationError: there is a pair that no row shows.
        """
        usable = self.images.is_easy if easy else np.ones(len(self.images.pair), np.bool_)
        rows = [
            np.flatnonzero((self.images.pair == number) & usable)
            for number in range(len(TRAINED_PAIRS))
        ]
        if not all(len(each) for each in rows):
            raise ConfigurationError(
                "--scenes",
                f"{len(usable)} scenes do not show every pair",
                f"{MIN_SCENES:,} or more",
                "Draw more of them.",
            )
        return rows


def train(folder: Path, recipe: Recipe) -> None:
    """Train a model and write it to ``folder``; every ``save_every`` steps what there is so far.

    The same recipe gives the same weights on the same processor and library versions: all
    randomness has a seed and every sum a fixed order. Other hardware rounds differently.
    """
    import torch

    torch.manual_seed(recipe.seed)
    lesson = prepare_lesson(recipe)
    model = untrained_model(lesson.vocabulary)
    learner = Learner(model)
    began = time.monotonic()
    for step, (rows, texts) in enumerate(batches(lesson, recipe)):
        loss = learner.step(lesson.images.pixels[rows], texts, _learning_rate(step, recipe.steps))
        done = step + 1
        if done % 50 == 0:
            seconds = time.monotonic() - began
            logger.info("step %d of %d, loss %.3f, %.0f s", done, recipe.steps, loss, seconds)
        if done % recipe.save_every == 0 or done == recipe.steps:
            save_model(model, lesson.vocabulary, folder)
    logger.info("wrote %s", folder)


def prepare_lesson(recipe: Recipe) -> Lesson:
    """Draw all training images and tokenize their captions."""
    from open_clip.tokenizer import SimpleTokenizer

    chunks: list[TrainingSet] = []
    for chunk in render_training_set(recipe.scenes, recipe.seed):
        chunks.append(chunk)
        if len(chunks) % 10 == 0:
            logger.info("drawn %d scenes", sum(len(part.pair) for part in chunks))
    images = joined(chunks)
    tokenizer = SimpleTokenizer(context_length=CONTEXT_TOKENS)
    flat = [text for texts in images.captions for text in texts]
    place = {text: number for number, text in enumerate(dict.fromkeys(flat))}
    unique = cast("npt.NDArray[np.int64]", tokenizer(list(place)).numpy())
    vocabulary = Vocabulary.of(unique)
    logger.info("%d captions, %d tokens", len(place), len(vocabulary.token_ids))
    tokens = vocabulary.renumber(unique)[[place[text] for text in flat]]
    return Lesson(images, tokens.reshape(len(images.pair), -1, CONTEXT_TOKENS), vocabulary)


def batches(
    lesson: Lesson, recipe: Recipe
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the rows and the tokens of every step's batch."""
    rng = np.random.default_rng([recipe.seed, 1])
    easy, every = lesson.rows_by_pair(easy=True), lesson.rows_by_pair(easy=False)
    for step in range(recipe.steps):
        progress = step / recipe.steps
        if progress < EASY_UNTIL:
            rows = _one_of_each(easy, rng)
        elif progress < SHORT_UNTIL or step % 2 == 0:
            rows = _one_of_each(every, rng)
        else:
            rows = rng.integers(len(lesson.tokens), size=RANDOM_BATCH)
        short_share = SHORT_SHARE_EARLY if progress < SHORT_UNTIL else SHORT_SHARE_LATE
        yield rows, with_unknown_words(_some_captions(lesson, rows, short_share, rng), rng)


def _one_of_each(
    pools: Sequence[npt.NDArray[np.int64]], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    return np.array([pool[rng.integers(len(pool))] for pool in pools])


def _some_captions(
    lesson: Lesson, rows: npt.NDArray[np.int64], short_share: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    is_short = rng.random(len(rows)) < short_share
    short = rng.integers(SHORT_CAPTIONS, size=len(rows))
    rich = SHORT_CAPTIONS + rng.integers(RICH_CAPTIONS, size=len(rows))
    return lesson.tokens[rows, np.where(is_short, short, rich)]


def with_unknown_words(
    tokens: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """``tokens`` with zeros put between the words of some rows."""
    changed = tokens.copy()
    for row in np.flatnonzero(rng.random(len(tokens)) < UNKNOWN_WORD_SHARE):
        length = int(tokens[row].argmax()) + 1
        extra = int(rng.integers(1, 4))
        if length + extra <= tokens.shape[1]:
            places = rng.integers(1, length, size=extra)
            words = np.insert(tokens[row, :length], places, 0)
            changed[row, : len(words)] = words
    return changed


def _learning_rate(step: int, steps: int) -> float:
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tinyclip.training",
        description="Train the demo's tiny CLIP from scratch on two cores, in about 20 minutes.",
        epilog=(
            "Progress goes to stderr. The folder is written every 600 steps, so an interrupted "
            "training leaves a weaker model. Measure it with python -m tools.tinyclip.evaluation."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=MODEL_FOLDER, help="open_clip folder")
    parser.add_argument("--scenes", type=int, default=60_000, help="training images")
    parser.add_argument("--steps", type=int, default=4800, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0, help="decides scenes, batches and weights")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    train(chosen.output, Recipe(scenes=chosen.scenes, steps=chosen.steps, seed=chosen.seed))


if __name__ == "__main__":
    main()
