"""What a model is to the rest of the package: an identity, a preprocessing and two towers.

Needs numpy alone, so that stages and tests can speak of encoders without loading one. The
encoder that computes is made by ``encoders.openclip.loading``. See ``encoders.identity`` for which
model a store belongs to.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float16]
"""(n, dim) float16, unit rows."""

Mask = npt.NDArray[np.bool_]
"""(n,) one for each caption."""

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) uint8 RGB: one image at the size that its model sees."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made a vector.

    Args:
        name: as it was asked for: an open_clip name, ``hf-hub:...``, ``local-dir:...``, ``demo``.
        pretrained: open_clip tag or checkpoint path; None where the name says it all.
        sha256: of the weights: names, shapes, types and bytes of all parameters and buffers.
        preprocessing: json of how images and captions become numbers.
        dim: length of an embedding.
        precision: what the towers compute in: ``fp32``, ``bf16`` or ``fp16``.
    """

    name: str
    pretrained: str | None
    sha256: str
    preprocessing: str
    dim: int
    precision: str

    def digest(self) -> str:
        """sha256 of what fixes the space of the vectors: weights, preprocessing, dimension.

        Names do not count: a pulled folder holds the model of its tag. Nor does precision:
        whatever is chosen keeps the cosine promise, and a GPU machine and a laptop must be
        able to work on one pool.
        """
        return hashlib.sha256(f"{self.sha256} {self.preprocessing} {self.dim}".encode()).hexdigest()

    def describe(self) -> str:
        """The identity in one line, for errors."""
        name = f"{self.name}/{self.pretrained}" if self.pretrained else self.name
        return f"{name} (weights {self.sha256[:12]}, dim {self.dim}, digest {self.digest()[:12]})"


class Encoder(Protocol):
    """Maps images and captions into one space of ``dim`` dimensions."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples that one call of ``encode_images`` and ``encode_text`` should have."""
        ...

    @property
    def workers(self) -> int:
        """How many calls of ``encode_images`` and ``encode_text`` should run at once."""
        ...

    def begin_work(self) -> None:
        """To be called first in each of several threads that preprocess or encode."""
        ...

    def preprocess(self, content: bytes) -> Pixels:
        """Decode an image file and bring it to the model's size; safe to call from many threads.

        Raises:
            ImageError: it cannot be decoded, or is larger than an image may be.
        """
        ...

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Embed preprocessed images: (len(images), dim) float16, unit rows."""
        ...

    def encode_text(self, captions: Sequence[str]) -> Vectors:
        """Embed captions: (len(captions), dim) float16, unit rows; any length, any characters."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> tuple[Vectors, Mask]:
        """``encode_text``, and of which captions the tower reads the beginning alone, (n,) bool.

        A tower reads so many tokens, its start and end among them: 77 of OpenAI's models, 64 and
        32 of others.
        """
        ...
