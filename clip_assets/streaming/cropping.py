"""Image files to the pixels that a training sees, as fast as a core can and without Python's lock.

A JPEG much larger than wanted is decoded smaller in the first place. What may be decoded at all is
said by ``download.headers``; what OpenCV cannot read goes to ``encoders.images``.
"""

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clip_assets.encoders import images
from clip_assets.errors import ConfigurationError, ImageError
from clip_assets.files.images import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

Square = npt.NDArray[np.uint8]
"""(side, side, 3) uint8, RGB."""

SMOOTH = 1.5
"""Images that shrink by more are averaged; below it cubic interpolation shows the same, faster."""

SCANS_OF_MOST = 12
"""Places that may begin a scan: a dozen of the largest image are decoded in seconds."""

SEGMENTS_OF_MOST = 32

MARK = 0xFF

FRAMES = {0xC0, 0xC1, 0xC2}
"""Markers behind which the sides stand, of the kinds that are decoded."""

SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""Markers of tables, comments and applications."""

_SCAN = re.compile(rb"\xff\xda")
# In two fifths of the time of bytes.count.

_REDUCTIONS = (8, 4, 2)
# At which JPEGs can be decoded.


class CenterCrop:
    """Resizes an image's shorter side, and cuts off what is longer at both ends.

    Args:
        side: of the result, in pixels.

    Raises:
        ConfigurationError: no side of an image.
    """

    def __init__(self, side: int = 224) -> None:
        if not 0 < side <= 2**14:
            raise ConfigurationError("side", str(side), "1 to 16,384 pixels", "Choose one.")
        import cv2

        # Every image has a thread of its own; more would only stand in their way.
        cv2.setNumThreads(1)
        self.side = side

    def __call__(self, content: bytes, into: Square | None = None) -> Square:
        """The pixels of an image file.

        Args:
            content: of the file.
            into: where to put them, such as a row of a batch.

        Raises:
            ImageError: see ``encoders.images.decode``.
        """
        if not content:
            raise _refused(images.EMPTY)
        square = np.empty((self.side, self.side, 3), np.uint8) if into is None else into
        decoded = self._decoded(content)
        if decoded is None:
            square[...] = images.decode(content, self._pillow)
        else:
            self._squeeze(decoded, square)
        return square

    def _decoded(self, content: bytes) -> Any:
        """The image by OpenCV, (height, width, 3) RGB, perhaps smaller; None if it cannot."""
        import cv2

        from clip_assets.download import headers

        sides_of_jpeg, body = _plain_jpeg(content), content
        if (sides := sides_of_jpeg) is None:
            try:
                header = headers.read(content)
            except Exception:  # what strangers' files make of readers of headers
                return None
            sides, body = (header.width, header.height), header.body
        if sides[0] * sides[1] > MAX_PIXELS:
            raise _refused(images.TOO_LARGE)
        short = min(sides)
        smaller = (number for number in _REDUCTIONS if short >= number * self.side)
        flag = cv2.IMREAD_IGNORE_ORIENTATION | {
            8: cv2.IMREAD_REDUCED_COLOR_8,
            4: cv2.IMREAD_REDUCED_COLOR_4,
            2: cv2.IMREAD_REDUCED_COLOR_2,
        }.get(next(smaller, 1), cv2.IMREAD_COLOR)
        if sides_of_jpeg is not None:  # not all of OpenCV's decoders heed it
            flag |= cv2.IMREAD_COLOR_RGB
        try:
            decoded: Any = cv2.imdecode(np.frombuffer(body, np.uint8), flag)
        except cv2.error:
            return None
        if decoded is None or sides_of_jpeg is not None:
            return decoded
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

    def _squeeze(self, decoded: Any, into: Square) -> None:
        import cv2

        height, width = decoded.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = decoded[top : top + short, left : left + short]
        if short == self.side:
            into[...] = square
            return
        method = cv2.INTER_AREA if short > SMOOTH * self.side else cv2.INTER_CUBIC
        cv2.resize(square, (self.side, self.side), dst=into, interpolation=method)

    def _pillow(self, image: "Image.Image") -> Square:
        from PIL import Image

        square = images.center_square(image, self.side, Image.Resampling.BICUBIC)
        return np.asarray(square.convert("RGB"))


def _plain_jpeg(content: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG whose frame comes soon and whose scans are few.

    Most are so, and need not be looked at as closely as ``headers`` does; None for all others.
    """
    if content[:3] != b"\xff\xd8\xff" or len(_SCAN.findall(content)) > SCANS_OF_MOST:
        return None
    place = 2
    for _ in range(SEGMENTS_OF_MOST):
        if place + 9 > len(content) or content[place] != MARK:
            return None
        kind, size, _, height, width = struct.unpack_from(">xBHBHH", content, place)
        if kind in FRAMES:
            return (width, height) if width and height else None
        if kind not in SKIPPED or size < 2:
            return None
        place += 2 + size
    return None


def _refused(reason: str) -> ImageError:
    return ImageError("image file", reason, "an image that can be decoded", "Use another image.")
