"""What a model knows: zero-shot classification and retrieval, sample by sample.

Answers are kept for every sample and not only as a mean: by them two models are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from clip_assets.experiment.held_out import HeldOut, classes

if TYPE_CHECKING:
    import torch

Hits = npt.NDArray[np.bool_]
"""(n,), whether a sample was answered rightly."""

Floats = npt.NDArray[np.float32]

ACCURACY = "accuracy"
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text@{}", "text_to_image@{}"
DEPTHS = 1, 5

BLOCK = 2048
"""Rows whose similarities to all others are in memory at once."""


class Model(Protocol):
    """What is asked.

    Attributes:
        side: of the images that it sees, in pixels.
    """

    side: int

    def of_images(self, images: "torch.Tensor") -> Floats:
        """(n, dim) unit rows."""
        ...

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """(n, dim) unit rows."""
        ...


@dataclass(frozen=True)
class Questions:
    """What every model is asked.

    Args:
        classify: images with classes, None for no classification.
        retrieve: images with captions, None for no retrieval.
        templates: see ``Comparison``.
    """

    classify: HeldOut | None
    retrieve: HeldOut | None
    templates: Sequence[str]

    def ask(self, model: Model) -> dict[str, Hits]:
        """The answers of a model, by metric."""
        answers: dict[str, Hits] = {}
        if self.classify is not None:
            vectors, told = _embedded(model, self.classify)
            answers[ACCURACY] = classified(vectors, told, _heads(model, told, self.templates))
        if self.retrieve is not None:
            vectors, captions = _embedded(model, self.retrieve)
            distinct = list(dict.fromkeys(captions))
            answers |= retrieved(
                vectors, captions, dict(zip(distinct, _texts(model, distinct), strict=True))
            )
        return answers


def classified(images: Floats, told: Sequence[str], heads: Mapping[str, Floats]) -> Hits:
    """Whether the nearest class of each image is its own."""
    names = list(heads)
    matrix = np.stack([heads[name] for name in names])
    truth = np.array([names.index(name) for name in told])
    return (images @ matrix.T).argmax(axis=1) == truth


def retrieved(
    images: Floats, captions: Sequence[str], texts: Mapping[str, Floats]
) -> dict[str, Hits]:
    """Whether images find their caption, and captions one of their images, among the nearest.

    Args:
        images: (n, dim).
        captions: (n,); equal ones are one caption, of which each image is right.
        texts: vectors, by caption.
    """
    names = list(texts)
    numbers = {name: number for number, name in enumerate(names)}
    own = np.array([numbers[caption] for caption in captions])
    matrix = np.stack([texts[name] for name in names])
    depth = max(DEPTHS)
    there = _nearest(images, matrix, depth) == own[:, None]
    back = own[_nearest(matrix, images, depth)] == np.arange(len(names))[:, None]
    hits = {IMAGE_TO_TEXT.format(k): there[:, :k].any(axis=1) for k in DEPTHS}
    return hits | {TEXT_TO_IMAGE.format(k): back[:, :k].any(axis=1) for k in DEPTHS}


def _nearest(asked: Floats, among: Floats, k: int) -> npt.NDArray[np.int64]:
    """(n, k) numbers of the nearest rows, best first."""
    k = min(k, len(among))
    rows: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(asked), BLOCK):
        similarities = asked[start : start + BLOCK] @ among.T
        best = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similarities, best, axis=1), axis=1, kind="stable")
        rows.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(rows)


def _embedded(model: Model, held_out: HeldOut) -> tuple[Floats, list[str]]:
    vectors: list[Floats] = []
    told: list[str] = []
    for batch in held_out.batches(model.side):
        vectors.append(model.of_images(batch.images))
        told += batch.told
    return np.concatenate(vectors), told


def _heads(model: Model, told: Sequence[str], templates: Sequence[str]) -> dict[str, Floats]:
    """A vector of each class: the mean of its texts, of length 1."""
    heads: dict[str, Floats] = {}
    for name in classes(told):
        mean = model.of_texts([template.format(name) for template in templates]).mean(axis=0)
        heads[name] = mean / np.linalg.norm(mean)
    return heads


def _texts(model: Model, texts: Sequence[str]) -> Floats:
    parts = [model.of_texts(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
    return np.concatenate(parts)
