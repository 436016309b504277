"""Answers are those of plain loops, and intervals hold what they say."""

import numpy as np
import pytest

from clip_assets.experiment import at_scale
from clip_assets.experiment.intervals import difference, share
from clip_assets.experiment.judging import classified, retrieved

RANDOM = np.random.default_rng(3)


def unit(rows: int, dim: int = 8) -> np.ndarray:
    vectors = RANDOM.standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_nearest_class_is_the_answer() -> None:
    heads = dict(zip("abc", unit(3), strict=True))
    images, told = unit(50), [*"abcab" * 10]
    right = [
        max(heads, key=lambda name: float(image @ heads[name])) == own
        for image, own in zip(images, told, strict=True)
    ]
    assert classified(images, told, heads).tolist() == right


def test_equal_captions_are_one_and_each_of_their_images_is_right() -> None:
    captions = [f"caption {number % 17}" for number in range(40)]
    names = list(dict.fromkeys(captions))
    texts, images = dict(zip(names, unit(17), strict=True)), unit(40)
    hits = retrieved(images, captions, texts)
    similarities = np.array([[float(image @ texts[name]) for name in names] for image in images])
    for k in (1, 5):
        found = [
            own in [names[place] for place in np.argsort(-row)[:k]]
            for row, own in zip(similarities, captions, strict=True)
        ]
        assert hits[f"image_to_text@{k}"].tolist() == found
        back = [
            name in [captions[place] for place in np.argsort(-column)[:k]]
            for name, column in zip(names, similarities.T, strict=True)
        ]
        assert hits[f"text_to_image@{k}"].tolist() == back


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for _ in range(25):
        estimate = share(RANDOM.random((1, 150)) < 0.3)
        held += estimate.low <= 0.3 <= estimate.high
    assert held >= 20  # 24 on average; fewer than 20 have a chance of 1 in 5,000


def test_a_paired_difference_is_sharper_than_two_shares() -> None:
    hard = RANDOM.random(400) < 0.5
    others = hard[None]
    answers = (hard | (RANDOM.random(400) < 0.06))[None]
    apart = difference(answers, others)
    assert apart.is_clear
    assert apart.high - apart.low < 0.5 * (share(answers).high - share(answers).low)
    nothing = difference(others, others)
    assert (nothing.value, nothing.low, nothing.high, nothing.is_clear) == (0, 0, 0, False)


def test_trainings_that_differ_widen_the_interval() -> None:
    alike = np.tile(RANDOM.random(500) < 0.5, (3, 1))
    apart = np.stack([RANDOM.random(500) < part for part in (0.2, 0.5, 0.8)])
    assert share(apart).high - share(apart).low > 2 * (share(alike).high - share(alike).low)


def test_the_interval_of_a_share_is_wilsons() -> None:
    estimate = at_scale._wilson(0.5, 100)
    assert (estimate.low, estimate.high) == pytest.approx((0.40383, 0.59617), abs=1e-4)
