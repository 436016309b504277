"""What the demo's model is trained on."""

import numpy as np
import pytest
import torch

from clip_assets.demo.drawing import draw
from clip_assets.demo.scenes import HELD_OUT_PAIRS, random_scene
from tools.tinyclip.model import MEAN, MODEL_FOLDER, STD
from tools.tinyclip.training import with_unknown_words
from tools.tinyclip.trainingset import joined, model_input, render_training_set


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (300, 200), (200, 301), (97, 131), (640, 97)])
def test_images_are_resized_as_open_clip_does(size: tuple[int, int]) -> None:
    import open_clip

    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{MODEL_FOLDER}")
    image = draw(random_scene(np.random.default_rng(3))).resize(size)
    pixels = torch.from_numpy(np.array(model_input(image))).permute(2, 0, 1) / 255
    expected = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(preprocess(image), expected)


def test_the_training_set_does_not_depend_on_the_number_of_processes() -> None:
    one, two = (joined(list(render_training_set(520, 7, processes=n))) for n in (1, 2))
    assert np.array_equal(one.pixels, two.pixels)
    assert one.captions == two.captions
    assert len(one.pair) == 520


def test_training_shows_no_held_out_pair() -> None:
    (chunk,) = render_training_set(400, 11, processes=1)
    for texts in chunk.captions:
        for pair in HELD_OUT_PAIRS:
            assert all(f"{pair.colour} {pair.shape}" not in text for text in texts)


def test_unknown_words_leave_the_known_ones_in_order() -> None:
    rng = np.random.default_rng(0)
    tokens = np.zeros((200, 32), np.int64)
    tokens[:, :6] = [8, 3, 1, 4, 2, 9]
    changed = with_unknown_words(tokens, rng)
    assert 10 < (changed != tokens).any(axis=1).sum() < 60
    for row in changed:
        assert row[row > 0].tolist() == [8, 3, 1, 4, 2, 9]
        assert row[0] == 8
        assert 0 not in row[int(row.argmax()) :][:1]
