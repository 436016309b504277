"""Files to pixels, and pixels to the images of a tar: img2dataset's results, byte for byte.

img2dataset's own resizer makes and checks transform objects for every image, a seventh of its
time, and points the whole process's output elsewhere meanwhile, so threads cannot share it.
Tests compare the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_assets.download.headers import Header
from clip_assets.settings import DownloadSettings

Pixels = npt.NDArray[Any]
"""(height, width) or (height, width, channels in the order BGR), uint8; a file may bring uint16."""

Blur = Callable[[Pixels, list[list[float]]], Pixels]
"""Blurs boxes ``[x_min, y_min, x_max, y_max]``, as shares of width and height."""

QUALITIES = {
    "jpg": cv2.IMWRITE_JPEG_QUALITY,
    "png": cv2.IMWRITE_PNG_COMPRESSION,
    "webp": cv2.IMWRITE_WEBP_QUALITY,
}
"""What ``encode_quality`` sets, by format."""

MATTED_AT_ONCE = 2**16
"""Pixels with transparency that are put on white at once: 8 MiB."""

MATTED_BYTES = 3
"""Of memory for each pixel of an image that is put on white."""

MADE_BYTES = 16
"""Of memory for each pixel of what is made: it, its encoder's copy, and the encoded image twice."""

# Every image has a thread of its own; threads inside an image would only stand in their way.
cv2.setNumThreads(1)


class RefusedError(Exception):
    """A file that gives no image.

    Args:
        error_class: ``decode``, ``too_small`` or ``aspect_ratio``.
        message: img2dataset's.
    """

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(error_class, message)
        self.error_class = error_class
        self.message = message


@dataclass(frozen=True, slots=True)
class Scaled:
    """An image for the tar; sides are in pixels."""

    image: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    perceptual_hash: str | None


class Scaler:
    """Decodes, scales and encodes; any number of threads may call it at once.

    Args:
        settings: size, mode and format.
        blur: for the boxes of faces.
    """

    def __init__(self, settings: DownloadSettings, blur: Blur | None) -> None:
        self._settings = settings
        self._blur = blur
        self._parameters = [QUALITIES[settings.encode_format], settings.encode_quality]

    def memory(self, header: Header) -> int:
        """Bytes that decoding, scaling and encoding an image take at most."""
        shape = (header.height, header.width)
        height, width = self._fitted_shape(shape) if self._is_resized(shape) else shape
        made = MADE_BYTES * height * width
        decoded = header.pixels * (header.pixel_bytes + MATTED_BYTES)
        return len(header.body) + max(header.pixels * header.decoder_bytes, decoded) + made

    def __call__(
        self, body: bytes, boxes: list[list[float]] | None, file: bytes | None = None
    ) -> Scaled:
        """Scale one file.

        Args:
            body: the file as the decoder shall see it.
            boxes: to blur.
            file: the whole of it, for samples that keep it; None: the same.

        Raises:
            RefusedError: it is no image, or not one that the settings ask for.
        """
        try:
            return self._scaled(body, boxes, body if file is None else file)
        except (cv2.error, ArithmeticError, LookupError, TypeError, ValueError) as error:
            # What strangers' files and boxes make of cv2 and of the blurrer.
            raise RefusedError("decode", str(error)) from error

    def _scaled(self, body: bytes, boxes: list[list[float]] | None, file: bytes) -> Scaled:
        decoded = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:  # pyright: ignore[reportUnnecessaryComparison] (its stubs are wrong)
            raise RefusedError("decode", "Image decoding error")
        height, width = decoded.shape[:2]
        self._check_sides(min(height, width), max(height, width))
        is_resized = self._is_resized((height, width))
        made = _on_white(decoded)
        if is_resized:
            made = self._fitted(made)
        if self._blur is not None and boxes is not None:
            made = self._blur(made, boxes)
        if is_resized:
            made = self._framed(made)
        is_the_file = made is decoded and not is_resized
        if self._settings.skip_reencode and is_the_file and self._is_in_format(file):
            image = file
        else:
            image = cv2.imencode(f".{self._settings.encode_format}", made, self._parameters)[1]
            image = image.tobytes()
        return Scaled(
            image,
            width=made.shape[1],
            height=made.shape[0],
            original_width=width,
            original_height=height,
            perceptual_hash=perceptual_hash(made) if self._settings.perceptual_hash else None,
        )

    def _check_sides(self, shorter: int, longer: int) -> None:
        if shorter < self._settings.min_image_size:
            raise RefusedError("too_small", "image too small")
        ratio = self._settings.max_aspect_ratio
        if ratio is not None and longer / shorter > ratio:
            raise RefusedError("aspect_ratio", "aspect ratio too large")

    def _side(self, shape: tuple[int, int]) -> int:
        """The side that becomes ``image_size``."""
        covers = self._settings.resize_mode in ("keep_ratio", "center_crop")
        return min(shape) if covers else max(shape)

    def _is_resized(self, shape: tuple[int, int]) -> bool:
        if self._settings.resize_mode == "no":
            return False
        is_bigger = self._side(shape) > self._settings.image_size
        return is_bigger or not self._settings.resize_only_if_bigger

    def _fitted_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Scaled so that the side that counts is ``image_size``."""
        height, width = shape
        scale = self._settings.image_size / max(1, self._side(shape))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _fitted(self, pixels: Pixels) -> Pixels:
        shape = (pixels.shape[0], pixels.shape[1])
        height, width = self._fitted_shape(shape)
        if (height, width) == shape:
            return pixels
        shrinks = self._settings.image_size < self._side(shape)
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        return cv2.resize(pixels, (width, height), interpolation=interpolation)

    def _framed(self, pixels: Pixels) -> Pixels:
        """Cut or filled up to a square where the mode says so."""
        size = self._settings.image_size
        height, width = pixels.shape[:2]
        if self._settings.resize_mode == "center_crop":
            top, left = (height - size) // 2, (width - size) // 2
            return pixels[top : top + size, left : left + size]
        if self._settings.resize_mode == "border":
            top, left = (size - height) // 2, (size - width) // 2
            rest = (size - height - top, size - width - left)
            white = (255, 255, 255)
            return cv2.copyMakeBorder(
                pixels, top, rest[0], left, rest[1], cv2.BORDER_CONSTANT, value=white
            )
        return pixels

    def _is_in_format(self, body: bytes) -> bool:
        """Whether a file has the format of the tars, as ``imghdr`` tells it."""
        match self._settings.encode_format:
            case "jpg":
                return body[6:10] in (b"JFIF", b"Exif") or body[:4] == b"\xff\xd8\xff\xdb"
            case "png":
                return body[:8] == b"\x89PNG\r\n\x1a\n"
            case "webp":
                return body[:4] == b"RIFF" and body[8:12] == b"WEBP"


def _on_white(pixels: Pixels) -> Pixels:
    """Without transparency, on white; a few rows at a time, as it is computed in float64."""
    if pixels.ndim < 3 or pixels.shape[2] != 4:
        return pixels
    height, width = pixels.shape[:2]
    made = np.empty((height, width, 3), np.uint8)
    rows = max(1, MATTED_AT_ONCE // width)
    for start in range(0, height, rows):
        strip = pixels[start : start + rows]
        alpha = strip[:, :, 3:]
        matted = alpha / 255 * strip[:, :, :3] + 255 - alpha
        made[start : start + rows] = np.rint(matted.clip(0, 255)).astype(np.uint8)
    return made


def perceptual_hash(pixels: Pixels) -> str:
    """64 bits that change little when an image is scaled, encoded or corrected.

    Which of the 8 x 8 lowest frequencies of the 32 x 32 image are above their median, as 16
    hex digits from the lowest frequency on; compare by the number of bits that differ.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions.
    """
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8]
    return np.packbits(low > np.median(low)).tobytes().hex()
