"""Vectors of the demo's own model: scenes of its kind are drawn, captioned and embedded.

What a trained model makes of pictures it has not seen, in the form of ``made_up_vectors``: small
and of small scenes, but nobody chose how its captions lie beside its images.
"""

import io

import numpy as np
import numpy.typing as npt

from clip_assets.demo import captions, drawing, scenes
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.settings import Settings

Floats = npt.NDArray[np.float32]

DIM = 128
AT_ONCE = 500


class DemoSource:
    """Draws pairs: the same for the same seeds. 5 ms of CPU each."""

    def __init__(self) -> None:
        settings = Settings.model_validate({"inference": {"model": "demo", "pretrained": None}})
        self._encoder = load_encoder(settings.inference, "cpu")

    def pairs(self, rows: int, seed: int) -> tuple[Floats, Floats]:
        """(rows, ``DIM``) vectors of images and of their captions, each of length 1."""
        random = np.random.default_rng(seed)
        images: list[Floats] = []
        texts: list[Floats] = []
        for start in range(0, rows, AT_ONCE):
            drawn = [scenes.random_scene(random) for _ in range(min(AT_ONCE, rows - start))]
            pictures = [self._encoder.preprocess(_jpeg(scene)) for scene in drawn]
            images.append(self._encoder.encode_images(pictures))
            told = [captions.rich_caption(one, random) for one in drawn]
            texts.append(self._encoder.encode_text(told))
        return np.concatenate(images).astype(np.float32), np.concatenate(texts).astype(np.float32)


def _jpeg(scene: scenes.Scene) -> bytes:
    """A scene as a file."""
    content = io.BytesIO()
    drawing.draw(scene).save(content, "JPEG", quality=90)
    return content.getvalue()
