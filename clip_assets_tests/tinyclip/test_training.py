"""Training the demo's model is repeatable, and refuses what it cannot use."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from clip_assets.demo.captions import captions
from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import EASY, TRAINED_PAIRS, scene_of
from clip_assets.errors import ConfigurationError
from tools.tinyclip.learner import Learner
from tools.tinyclip.model import (
    CONTEXT_TOKENS,
    VOCABULARY,
    WEIGHTS_NAME,
    TinyClip,
    Vocabulary,
    save_model,
    untrained_model,
)
from tools.tinyclip.training import Lesson, Recipe, batches
from tools.tinyclip.trainingset import TrainingSet, model_input

SCENES_OF_EACH = 2
RECIPE = Recipe(steps=40)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """Two easy scenes of every trained pair."""
    from open_clip.tokenizer import SimpleTokenizer

    rng = np.random.default_rng(5)
    numbers = np.arange(len(TRAINED_PAIRS) * SCENES_OF_EACH) % len(TRAINED_PAIRS)
    scenes = [scene_of(rng, TRAINED_PAIRS[number], EASY) for number in numbers]
    texts = [captions(scene, rng) for scene in scenes]
    tokens = SimpleTokenizer(context_length=CONTEXT_TOKENS)([t for each in texts for t in each])
    vocabulary = Vocabulary.of(tokens.numpy())
    images = TrainingSet(
        pixels=np.stack([np.asarray(model_input(draw(scene))) for scene in scenes]),
        captions=texts,
        pair=numbers,
        is_easy=np.ones(len(scenes), np.bool_),
    )
    renumbered = vocabulary.renumber(tokens.numpy())
    return Lesson(images, renumbered.reshape(len(scenes), -1, CONTEXT_TOKENS), vocabulary)


def learn(lesson: Lesson, steps: int) -> tuple[Learner, list[float]]:
    torch.manual_seed(0)
    learner = Learner(untrained_model(lesson.vocabulary))
    losses = [
        learner.step(lesson.images.pixels[rows], tokens, 1e-3)
        for (rows, tokens), _ in zip(batches(lesson, RECIPE), range(steps), strict=False)
    ]
    return learner, losses


def weights_of(learner: Learner) -> npt.NDArray[np.float32]:
    return torch.cat([w.detach().flatten() for w in learner.model.parameters()]).numpy()


def test_the_same_recipe_gives_the_same_weights(lesson: Lesson) -> None:
    (one, losses), (other, _) = learn(lesson, 3), learn(lesson, 3)
    assert np.array_equal(weights_of(one), weights_of(other))
    assert len(losses) == 3


def test_the_loss_falls(lesson: Lesson) -> None:
    _, losses = learn(lesson, 16)
    assert losses[-1] < losses[0] - 0.3


def test_half_batches_share_weights_but_not_statistics(lesson: Lesson) -> None:
    learner, _ = learn(lesson, 1)
    one, other = learner.copies
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(weight is shared for weight, shared in pairs)
    assert not torch.equal(one.visual.bn1.running_mean, other.visual.bn1.running_mean)


def test_early_batches_show_every_pair_once(lesson: Lesson) -> None:
    rows, tokens = next(batches(lesson, RECIPE))
    assert lesson.images.pair[rows].tolist() == list(range(len(TRAINED_PAIRS)))
    assert tokens.shape == (len(TRAINED_PAIRS), CONTEXT_TOKENS)


def test_a_missing_pair_is_refused(lesson: Lesson) -> None:
    images = TrainingSet(
        lesson.images.pixels[1:100],
        lesson.images.captions[1:100],
        lesson.images.pair[1:100],
        lesson.images.is_easy[1:100],
    )
    with pytest.raises(ConfigurationError, match="99 scenes do not show every pair"):
        Lesson(images, lesson.tokens[1:100], lesson.vocabulary).rows_by_pair(easy=False)


def test_a_saved_model_loads_and_agrees_with_the_trained_one(
    lesson: Lesson, tmp_path: Path
) -> None:
    learner, _ = learn(lesson, 2)
    save_model(learner.model, lesson.vocabulary, tmp_path)
    assert (tmp_path / WEIGHTS_NAME).stat().st_mode & 0o777 == 0o644
    clip = TinyClip(tmp_path)
    learner.model.eval()
    with torch.inference_mode():
        tokens = torch.from_numpy(lesson.tokens[:4, 0])
        expected = learner.model.encode_text(tokens, normalize=True).numpy()
    texts = [texts[0] for texts in lesson.images.captions[:4]]
    # Half precision keeps eleven bits of each weight.
    np.testing.assert_allclose(clip.encode_texts(texts), expected, atol=2e-3)
    jpeg = as_jpeg(draw(scene_of(np.random.default_rng(0), TRAINED_PAIRS[0])), 90)
    assert clip.encode_jpegs([jpeg]).shape == (1, 128)


def test_words_that_training_never_saw_add_nothing(lesson: Lesson, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_model(untrained_model(lesson.vocabulary), lesson.vocabulary, tmp_path)
    table = load_file(tmp_path / WEIGHTS_NAME)["token_embedding.weight"]
    assert table.shape[0] == VOCABULARY
    unknown = np.setdiff1d(np.arange(VOCABULARY), lesson.vocabulary.token_ids)
    assert not table[torch.from_numpy(unknown)].any()
    assert table[torch.from_numpy(lesson.vocabulary.token_ids)].any(dim=1).all()
