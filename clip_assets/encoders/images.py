"""Image files to decoded images, with a reason for everything that is none.

What strangers put into a file ends here: sizes are checked before pixels are allocated, and
every fault of a decoder becomes an ``ImageError`` for one of the reasons below.
See ``encoders.openclip.preprocessing`` for how a model resizes.

An EXIF rotation is not applied: open_clip and the peers embed the stored pixels, and so do
we. Alpha is dropped, not blended, as they do too. Only 16-bit grayscale differs: they clip
it to white, here its upper 8 bits count.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, UnidentifiedImageError

from clip_assets.encoders.encoder import Pixels
from clip_assets.errors import ImageError
from clip_assets.files.images import FORMATS, MAX_PIXELS

EMPTY = "empty image"
UNDECODABLE = "undecodable image"
TOO_LARGE = "too large image"
UNRESIZABLE = "image of impossible shape"

DECODED = (*FORMATS, "JPEG2000", "ICO")
"""What is decoded here; the last two are for Pillow alone, downloads do not take them."""

FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on files that are damaged or hostile."""


def decode(content: bytes, resize: Callable[[Image.Image], Pixels]) -> Pixels:
    """Decode an image file and bring it to a model's size.

    Args:
        content: the file.
        resize: what the model does with an image of any mode and size.

    Raises:
        ImageError: it is empty, no image, damaged, larger than ``MAX_PIXELS``, or of a shape
            that cannot be resized.
    """
    if not content:
        raise _error(EMPTY, "0 bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=DECODED)
        if image.width * image.height > MAX_PIXELS:
            raise _error(TOO_LARGE, f"{image.width}x{image.height} pixels")
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _error(TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise _error(UNDECODABLE, "of no format that is known") from error
    except FAULTS as error:
        raise _error(UNDECODABLE, f"{type(error).__name__}: {error}") from error
    try:
        return resize(_plain(image))
    except ValueError as error:
        size = f"{image.mode} {image.width}x{image.height}: {error}"
        raise _error(UNRESIZABLE, size) from error


def center_square(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Torchvision's ``Resize(side)`` and ``CenterCrop(side)`` in one step.

    The same pixels but for rounding, and only those that are kept are computed: an image of
    1x5000 would become one of a gigabyte before it is cropped.
    """
    short, long = sorted(image.size)
    resized = int(side * long / short)
    # torchvision rounds halves to even, and so does Python.
    before = round((resized - side) / 2) * long / resized
    after = before + side * long / resized
    is_upright = image.width <= image.height
    box = (0, before, short, after) if is_upright else (before, 0, after, short)
    return image.resize((side, side), resample, box)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # Pillow warns of palettes with transparency as bytes; the transparency is dropped anyway.
    image.info.pop("transparency", None)
    return image


def _error(reason: str, detail: str) -> ImageError:
    return ImageError(
        "image file", reason, "an image that can be decoded", "Use another image.", detail
    )
