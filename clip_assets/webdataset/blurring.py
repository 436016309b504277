"""Faces made unrecognisable in images: by img2dataset's blurrer, and that file of it alone.

The only module that imports img2dataset, as the package would bring pandas, wandb and torch.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
"""(height, width) or (height, width, channels in the order BGR), uint8."""

Blur = Callable[[Pixels, Any], Pixels]
"""Blurs boxes ``[x_min, y_min, x_max, y_max]``, as shares of width and height."""

QUALITIES = {"jpg": 95, "jpeg": 95, "png": 9, "webp": 95}
"""Kinds of images that can be encoded again, and how; img2dataset's defaults."""


def blurrer() -> Blur:
    """The blurrer, without its package."""
    # albumentations looks for updates over the network unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # noqa: TID251 (not our setting)
    package = importlib.util.find_spec("img2dataset")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location(
        "img2dataset_blurrer", Path(package.origin).with_name("blurrer.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BoundingBoxBlurrer()


def blurred(
    content: bytes, extension: str, boxes: Sequence[Sequence[float]], blur: Blur
) -> bytes | None:
    """An image file with blurred boxes, encoded again; None if it is no image.

    Args:
        content: of the file.
        extension: one of ``QUALITIES``.
        boxes: as ``Blur`` takes them.
        blur: what ``blurrer`` gives.
    """
    import cv2

    settings = {"png": cv2.IMWRITE_PNG_COMPRESSION, "webp": cv2.IMWRITE_WEBP_QUALITY}
    quality = settings.get(extension, cv2.IMWRITE_JPEG_QUALITY), QUALITIES[extension]
    stored = np.frombuffer(content, np.uint8)
    pixels: Pixels | None = cv2.imdecode(stored, cv2.IMREAD_COLOR) if len(stored) else None
    if pixels is None:
        return None
    _, encoded = cv2.imencode(f".{extension}", blur(pixels, boxes), quality)
    return encoded.tobytes()
