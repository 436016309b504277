"""One model on several devices: batches are dealt out, results come back in order.

Each replica is an ``Encoder`` of its own; together they are one. Batches are cut before they
are dealt, so equal devices give the bytes that one of them would give.
"""

import threading
from collections.abc import Sequence
from itertools import cycle

from clip_assets.encoders.encoder import Encoder, Mask, ModelIdentity, Pixels, Vectors


class Replicas:
    """An ``Encoder`` whose workers compute on one of several others each.

    Args:
        encoders: of one model; at least one.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = encoders
        self._turns = cycle(encoders)
        self._dealing = threading.Lock()
        self._thread = threading.local()

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._encoders[0].dim

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._encoders[0].identity

    @property
    def batch_size(self) -> int:
        """Samples that one call should have."""
        return self._encoders[0].batch_size

    @property
    def workers(self) -> int:
        """Calls that should run at once: those of all devices."""
        return sum(encoder.workers for encoder in self._encoders)

    def begin_work(self) -> None:
        """Make the calling thread one of several; the first batch that it has gives it a device."""
        self._encoders[0].begin_work()
        self._thread.is_worker = True

    def preprocess(self, content: bytes) -> Pixels:
        """Decode an image file and bring it to the model's size."""
        return self._encoders[0].preprocess(content)

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Embed preprocessed images: (len(images), dim) float16, unit rows."""
        return self._mine().encode_images(images)

    def encode_text(self, captions: Sequence[str]) -> Vectors:
        """Embed captions: (len(captions), dim) float16, unit rows; any length, any characters."""
        return self._mine().encode_text(captions)

    def encode_captions(self, captions: Sequence[str]) -> tuple[Vectors, Mask]:
        """``encode_text``, and of which captions the tower reads the beginning alone, (n,) bool."""
        return self._mine().encode_captions(captions)

    def _mine(self) -> Encoder:
        if not getattr(self._thread, "is_worker", False):
            return self._encoders[0]
        if not hasattr(self._thread, "encoder"):
            with self._dealing:
                self._thread.encoder = next(self._turns)
            self._thread.encoder.begin_work()
        return self._thread.encoder
