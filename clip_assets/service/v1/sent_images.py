"""Stored images of a pool for browsers: as they lie in the shards, or smaller.

Where an image lies in its shard is said by ``retrieval.images``. What is sent is named by a tag
that changes when its partition is made anew, so a browser asks for it once.
"""

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from clip_assets.encoders.images import FAULTS
from clip_assets.errors import ImageError
from clip_assets.files.images import MAX_PIXELS
from clip_assets.retrieval.images import Images
from clip_assets.service.hosting.hosted import OpenVersion

SIZES = (64, 128, 256, 512, 1024)
"""Longest sides of thumbnails, pixels; what lies between is rounded up, so that few are kept."""

KEPT_BYTES = 2**26
"""Of thumbnails in memory."""

QUALITY = 82

MAX_AGE_S = 3600
"""For which a browser does not ask again."""

TYPES = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png", b"RI": "image/webp", b"GI": "image/gif"}
"""By the first bytes of a file."""


@dataclass(frozen=True, slots=True)
class SentImage:
    """An image as it is sent."""

    content: bytes
    media_type: str


class Thumbnails:
    """Images that were made smaller, the latest of them in memory. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, SentImage] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, images: Images, image_path: str, size: int | None, tag: str) -> SentImage:
        """A stored image, at most ``size`` pixels on its longest side.

        Args:
            images: of the pool.
            image_path: see ``retrieval.images``.
            size: one of ``SIZES``; None: as it is stored.
            tag: of image and size.

        Raises:
            StoreError: it is not there.
            ImageError: it cannot be decoded.
        """
        with self._lock:
            if tag in self._kept:
                self._kept.move_to_end(tag)
                return self._kept[tag]
        content = images.read(image_path)
        if size is None:
            return SentImage(content, TYPES.get(content[:2], "application/octet-stream"))
        picture = SentImage(_smaller(content, size, image_path), "image/webp")
        with self._lock:
            if tag not in self._kept:  # else another thread was faster
                self._kept[tag] = picture
                self._bytes += len(picture.content)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].content)
        return picture


def size_of(asked: int | None) -> int | None:
    """The size that is made for one that is asked for."""
    if asked is None:
        return None
    return next((size for size in SIZES if size >= asked), SIZES[-1])


def tag(opened: OpenVersion, vector_id: int, size: int | None) -> str:
    """What changes when the image that is sent does, as an ETag holds it."""
    slot = next(
        slot for slot, _ in opened.searcher.version.used if vector_id < slot.start + slot.count
    )
    assert slot.content is not None
    named = f"{slot.content.digest} {slot.content.partition} {vector_id - slot.start} {size}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _smaller(content: bytes, size: int, where: str) -> bytes:
    try:
        image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PIXELS:
            raise _undecodable(where, f"{image.width}x{image.height} pixels")
        image.draft("RGB", (size, size))
        image.thumbnail((size, size), Image.Resampling.BICUBIC)
        written = io.BytesIO()
        image.convert("RGB").save(written, "WEBP", quality=QUALITY, method=2)
    except (UnidentifiedImageError, Image.DecompressionBombError, *FAULTS) as error:
        raise _undecodable(where, f"{type(error).__name__}: {error}") from error
    return written.getvalue()


def _undecodable(where: str, detail: str) -> ImageError:
    return ImageError(
        where,
        "undecodable image",
        "a stored image that can be decoded",
        "Ask without size.",
        detail,
    )
