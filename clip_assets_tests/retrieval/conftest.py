"""An indexed pool whose model is arithmetic: the same words or bytes, the same direction."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder, ModelIdentity
from clip_assets.layout import Key
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Floats, Halves, Indexed, one_thread, unit, unit_rows

__all__ = ["one_thread"]

DIM = 24


def direction(content: bytes) -> Floats:
    """Of some bytes, (DIM,)."""
    return unit_rows(zlib.crc32(content), 1, DIM)[0]


class WordEncoder:
    """An encoder in which the image of a caption is the caption's bytes."""

    dim = DIM
    batch_size = workers = 1

    def __init__(self, name: str = "words") -> None:
        self.identity = ModelIdentity(name, None, name[0] * 64, "bytes", DIM, "fp32")

    def begin_work(self) -> None:
        """Nothing is to be done."""

    def preprocess(self, content: bytes) -> npt.NDArray[np.uint8]:
        return np.frombuffer(content, np.uint8).reshape(1, -1, 1)

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> Halves:
        rows = [direction(image.tobytes()) for image in images]
        return np.reshape(rows, (-1, DIM)).astype(np.float16)

    def encode_text(self, captions: Sequence[str]) -> Halves:
        # Texts lie near their images, not on them.
        near = [direction(c.encode()) + 0.4 * direction(b"text " + c.encode()) for c in captions]
        return unit(np.reshape(near, (-1, DIM))).astype(np.float16)

    def encode_captions(self, captions: Sequence[str]) -> tuple[Halves, npt.NDArray[np.bool_]]:
        return self.encode_text(captions), np.zeros(len(captions), np.bool_)


class Captions(Indexed):
    """Captions in, a served index out."""

    def __init__(self, store: Store, encoder: Callable[[], Encoder] = WordEncoder) -> None:
        super().__init__(store, encoder=encoder)
        self.words = WordEncoder()

    def add(self, number: int, captions: Sequence[str]) -> Key:
        """Embed a partition."""
        key = layout.partition_key(number)
        pixels = [self.words.preprocess(caption.encode()) for caption in captions]
        sides = self.words.encode_images(pixels), self.words.encode_text(captions)
        rows: list[dict[str, Any]] = [
            {
                "uid": f"{zlib.crc32(caption.encode()):032x}",
                "url": f"http://h/{key}/{place}",
                "caption": caption,
                "width": 256,
                "similarity": 0.25,
            }
            for place, caption in enumerate(captions)
        ]
        return self.put(number, sides, rows, content=str(captions), model=self.words.identity)

    def served_by(self, encoder: Callable[[], Encoder]) -> "Captions":
        """The same pool, with another model for queries."""
        other = Captions(self.store, encoder)
        other.settings = self.settings
        return other


@pytest.fixture
def made(local_store: Store) -> Captions:
    """An empty pool on a disk."""
    return Captions(local_store)


@pytest.fixture
def made_anywhere(store: Store) -> Captions:
    """An empty pool, on a disk and on an object store."""
    return Captions(store)
