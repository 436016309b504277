"""Image files to pixels at the size that a model sees, by the model's own steps.

See ``encoders.images`` for what files may hold and why one is refused, and ``towers`` for numbers
and their normalisation. Usually the processor does all of this. An
accelerator can decode JPEGs and resize them itself, for cores that are too few to feed it.
"""

import io
from collections.abc import Callable
from functools import reduce
from typing import Any, cast

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_jpeg

from clip_assets.encoders import images
from clip_assets.encoders.encoder import Pixels
from clip_assets.files.images import MAX_PIXELS

EXTREME_RATIO = 8
"""Longer images are cropped while they are resized; open_clip resizes all of them first."""

JPEG_END = b"\xff\xd9"


class Preprocessing:
    """Files to pixels, as the configuration of a model says.

    Args:
        config: of the model.
        decoder: the device that decodes JPEGs; None for Pillow on the processor.
    """

    def __init__(self, config: PreprocessCfg, decoder: torch.device | None = None) -> None:
        # The last two steps, to numbers and normalisation, are done by batch on the device.
        self._steps = cast("Any", image_transform_v2(config, is_train=False)).transforms[:-2]
        self._side = config.size if isinstance(config.size, int) else config.size[0]
        is_square = isinstance(config.size, int) or config.size[0] == config.size[1]
        self._crops = config.resize_mode == "shortest" and is_square
        self._mode = "bilinear" if config.interpolation == "bilinear" else "bicubic"
        self._decoder = decoder if self._crops else None

    def __call__(self, content: bytes) -> Pixels | Tensor:
        """Pixels of a file: an array, or a tensor on the decoder.

        Raises:
            ImageError: see ``images.decode``.
        """
        planes = self._decoded(content) if self._decoder else None
        if planes is None:
            return images.decode(content, self._resized)
        return center_square(planes, self._side, self._mode)

    def _decoded(self, content: bytes) -> Tensor | None:
        """A whole JPEG of usual shape as planes on the decoder; None for all that is none."""
        if not content.endswith(JPEG_END) or not self._is_usual(content):
            return None
        file = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        try:
            planes = decode_jpeg(file, ImageReadMode.RGB, device=cast("Any", self._decoder))
        except RuntimeError:
            # Forms that a hardware decoder does not know, and damage: Pillow decides.
            return None
        return cast("Tensor", planes)

    def _is_usual(self, content: bytes) -> bool:
        try:
            image = Image.open(io.BytesIO(content), formats=["JPEG"])
        except (UnidentifiedImageError, *images.FAULTS):
            return False
        is_small = image.width * image.height <= MAX_PIXELS
        return image.mode == "RGB" and is_small and not _is_long(image)

    def _resized(self, image: Image.Image) -> Pixels:
        if self._crops and _is_long(image):
            resample = Image.Resampling[self._mode.upper()]
            return np.asarray(images.center_square(image, self._side, resample).convert("RGB"))
        if self._crops and image.mode == "RGB":
            planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            return center_square(planes, self._side, self._mode).numpy()
        steps: list[Callable[[Any], Any]] = self._steps
        return np.asarray(reduce(lambda done, step: step(done), steps, image).convert("RGB"))


def center_square(planes: Tensor, side: int, mode: str) -> Tensor:
    """Torchvision's ``Resize(side)`` and ``CenterCrop(side)`` of an RGB image, wherever it is.

    On a CPU within one level of Pillow's pixels, which they take, in a quarter of the time.

    Args:
        planes: (3, height, width) uint8.
        side: of the result.
        mode: ``bicubic`` or ``bilinear``.

    Returns:
        (side, side, 3) uint8.
    """
    height, width = planes.shape[1:]
    short = min(height, width)
    height, width = side * height // short, side * width // short
    # Only CPUs resize bytes as they are.
    numbers = planes if planes.device.type == "cpu" else planes.float()
    resized = functional.interpolate(numbers[None], (height, width), mode=mode, antialias=True)[0]
    # torchvision rounds halves to even, and so does Python.
    top, left = round((height - side) / 2), round((width - side) / 2)
    square = resized[:, top : top + side, left : left + side].permute(1, 2, 0)
    return square if square.dtype == torch.uint8 else square.round().clamp(0, 255).byte()


def _is_long(image: Image.Image) -> bool:
    return max(image.size) > EXTREME_RATIO * min(image.size)
