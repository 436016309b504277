"""Scenes are what they are drawn from, and captions tell no more."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.demo.captions import COLOUR_WORDS, SHAPE_WORDS, captions
from clip_assets.demo.drawing import HUE_JITTER, draw
from clip_assets.demo.scenes import (
    ALL_PAIRS,
    COLOURS,
    EASY,
    HELD_OUT_PAIRS,
    MIN_CONTRAST,
    SHAPES,
    TRAINED_PAIRS,
    Pair,
    Scene,
    Variety,
    contrast,
    random_scene,
    scene_of,
)

seeds = st.integers(0, 2**32 - 1)
SMALL = Variety(shorter_side_px=(96, 120))


def scene_from(seed: int) -> Scene:
    return random_scene(np.random.default_rng(seed), variety=SMALL)


def test_every_shape_and_every_colour_is_held_out_once() -> None:
    assert sorted(pair.shape for pair in HELD_OUT_PAIRS) == sorted(SHAPES)
    assert sorted(pair.colour for pair in HELD_OUT_PAIRS) == sorted(COLOURS)
    assert set(HELD_OUT_PAIRS) | set(TRAINED_PAIRS) == set(ALL_PAIRS)
    assert not set(HELD_OUT_PAIRS) & set(TRAINED_PAIRS)


def test_every_name_has_words() -> None:
    assert set(SHAPE_WORDS) == set(SHAPES)
    assert set(COLOUR_WORDS) == set(COLOURS)


@given(seed=seeds)
def test_same_seed_gives_the_same_scene_pixels_and_words(seed: int) -> None:
    one, other = scene_from(seed), scene_from(seed)
    assert one == other
    assert draw(one).tobytes() == draw(other).tobytes()
    words = [captions(one, np.random.default_rng(seed)) for _ in range(2)]
    assert words[0] == words[1]


@given(seed=seeds)
def test_a_scene_is_drawn_in_its_size(seed: int) -> None:
    scene = scene_from(seed)
    image = draw(scene)
    assert image.size == (scene.width, scene.height)
    assert image.mode == "RGB"


@given(seed=seeds)
def test_scenes_show_only_the_pairs_they_may(seed: int) -> None:
    scene = random_scene(np.random.default_rng(seed), TRAINED_PAIRS)
    assert scene.pairs <= set(TRAINED_PAIRS)
    assert 1 <= len(scene.things) <= 4
    assert len(scene.pairs) == (2 if scene.is_mixed else 1)


@given(seed=seeds)
def test_objects_stand_out_from_the_background(seed: int) -> None:
    scene = scene_from(seed)
    assert all(contrast(thing.colour, scene.background) >= MIN_CONTRAST for thing in scene.things)


@given(seed=seeds)
def test_objects_lie_in_the_central_square(seed: int) -> None:
    for thing in scene_from(seed).things:
        assert abs(thing.x) + thing.radius <= 0.5
        assert abs(thing.y) + thing.radius <= 0.5


@given(seed=seeds, pair=st.sampled_from(ALL_PAIRS))
def test_the_object_has_its_colour(seed: int, pair: Pair) -> None:
    scene = scene_of(np.random.default_rng(seed), pair, EASY)
    pixels = np.asarray(draw(scene), dtype=np.int64).reshape(-1, 3)
    near = np.abs(pixels - COLOURS[pair.colour]).max(axis=1) <= HUE_JITTER
    # The thinnest shapes cover a sixth of the square around them, and small squares are 30 % wide.
    assert near.mean() > 0.005


@given(seed=seeds)
def test_captions_name_no_colour_that_is_not_in_the_image(seed: int) -> None:
    scene = scene_from(seed)
    present = {thing.colour for thing in scene.things} | {scene.background}
    for caption in captions(scene, np.random.default_rng(seed)):
        words = set(caption.replace("-", " ").split())
        named = {colour for colour in COLOURS if colour in words}
        # "royal blue" and "snow white" are the only synonyms that contain another colour's name.
        assert named <= present


@given(seed=seeds)
def test_a_scene_has_eight_captions(seed: int) -> None:
    scene = scene_from(seed)
    texts = captions(scene, np.random.default_rng(seed))
    assert len(texts) == 8
    assert all(text == text.strip() and text for text in texts)


def test_easy_scenes_show_one_plain_object() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = random_scene(rng, variety=EASY)
        assert len(scene.things) == 1
        assert scene.texture == scene.things[0].pattern == "plain"
