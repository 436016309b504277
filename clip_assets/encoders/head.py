"""Heads over embeddings: one number for each, computed without a library of networks.

How vectors are made is the matter of encoders; what a score means is said by who trained the head.
They are read from files by ``head_file``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.floating]

ROWS_AT_ONCE = 10_000
"""Of vectors that are in memory as float32 together, with what a network makes of them."""


class Head(Protocol):
    """What scores embeddings."""

    def scores(self, vectors: Vectors) -> Floats:
        """The score of each of (n, dim) embeddings of length 1, (n,)."""
        ...

    def direction(self, vector: Floats) -> Floats:
        """(dim,) along which the score rises fastest from an embedding."""
        ...

    def lowered(self, by: float) -> "Head":
        """The same, with scores that are less by so much."""
        ...


@dataclass(frozen=True, slots=True)
class LinearHead:
    """The product with one vector, and a bias.

    Args:
        weights: (dim,) float32.
        bias: added to every product.
    """

    weights: Floats
    bias: float

    def scores(self, vectors: Vectors) -> Floats:
        """See ``Head``."""
        return _in_parts(vectors, lambda some: some @ self.weights + np.float32(self.bias))

    def direction(self, vector: Floats) -> Floats:
        """The weights, wherever one is."""
        del vector
        return self.weights

    def lowered(self, by: float) -> "LinearHead":
        """See ``Head``."""
        return LinearHead(self.weights, self.bias - by)


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A linear layer.

    Args:
        weights: (out, in) float32.
        bias: (out,) float32.
    """

    weights: Floats
    bias: Floats

    def after(self, before: "LinearLayer") -> "LinearLayer":
        """Both as one, where nothing stands between them."""
        weights, own = before.weights.astype(np.float64), self.weights.astype(np.float64)
        bias = own @ before.bias.astype(np.float64) + self.bias
        return LinearLayer((own @ weights).astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True, slots=True)
class NetworkHead:
    """Linear layers with a ReLU between each two.

    Args:
        layers: at least two; the last one has one output.
    """

    layers: Sequence[LinearLayer]

    def scores(self, vectors: Vectors) -> Floats:
        """See ``Head``."""
        return _in_parts(vectors, lambda some: self._outputs(some)[-1][:, 0])

    def direction(self, vector: Floats) -> Floats:
        """The gradient at an embedding; of no use where no unit of a layer is at work."""
        outputs = self._outputs(vector[None])
        slope = self.layers[-1].weights[0]
        pairs = zip(self.layers[-2::-1], outputs[-2::-1], strict=True)
        for layer, output in pairs:
            slope = (slope * (output[0] > 0)) @ layer.weights
        return slope

    def lowered(self, by: float) -> "NetworkHead":
        """See ``Head``."""
        last = self.layers[-1]
        return NetworkHead(
            [*self.layers[:-1], LinearLayer(last.weights, last.bias - np.float32(by))]
        )

    def _outputs(self, vectors: Floats) -> list[Floats]:
        """Of each layer, before the ReLU."""
        outputs: list[Floats] = []
        for layer in self.layers:
            given = np.maximum(outputs[-1], 0) if outputs else vectors
            outputs.append(given @ layer.weights.T + layer.bias)
        return outputs


@dataclass(frozen=True, slots=True)
class PromptHead:
    """How far the second of several vectors is ahead of the others: above 0 it is the nearest.

    Args:
        prompts: (n, dim) float32, two or more.
        bias: added to every score.
    """

    prompts: Floats
    bias: float = 0.0

    def scores(self, vectors: Vectors) -> Floats:
        """See ``Head``."""
        return _in_parts(vectors, self._ahead)

    def direction(self, vector: Floats) -> Floats:
        """Away from the best of the others."""
        others = np.delete(self.prompts, 1, axis=0)
        return self.prompts[1] - others[np.argmax(others @ vector)]

    def lowered(self, by: float) -> "PromptHead":
        """See ``Head``."""
        return PromptHead(self.prompts, self.bias - by)

    def _ahead(self, vectors: Floats) -> Floats:
        similar = vectors @ self.prompts.T
        others = np.delete(similar, 1, axis=1).max(axis=1)
        return similar[:, 1] - others + np.float32(self.bias)


def _in_parts(vectors: Vectors, score: Callable[[Floats], Floats]) -> Floats:
    starts = range(0, len(vectors), ROWS_AT_ONCE)
    parts = [score(vectors[at : at + ROWS_AT_ONCE].astype(np.float32)) for at in starts]
    return np.concatenate([np.empty(0, np.float32), *parts])
