"""Bytes of a stranger's file to an image for the tar.

What is refused before a file is decoded, hashes and EXIF are here; pixels are in ``scaling``.
Which rows an outcome becomes is decided in ``shard``.

Side data never cost an image whose pixels are sound: ``headers`` keeps them from the decoder, and
EXIF is read up to ``EXIF_BYTES``.

Memory: images in work at a time stay within the settings' ``decoding_bytes``. What one takes is
known from its header, and an image that would take more than all of it is refused.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from clip_assets.download import headers
from clip_assets.download.decoding_room import DecodingRoom
from clip_assets.download.fetch.faults import one_line
from clip_assets.errors import ConfigurationError
from clip_assets.settings import DownloadSettings
from clip_assets.webdataset.blurring import blurrer

if TYPE_CHECKING:
    from clip_assets.download.scaling import Scaled

SOURCE_HASHES = ("sha512", "sha256", "md5")
"""Columns of pairs that may hold a source's hash of the file, the strongest first."""

PNG_LEVELS = 9
"""Highest ``encode_quality`` of a png."""

EXIF_READS = 50_000
"""Pieces of a file that its EXIF may be read in: tenths of a second. Cameras' need a thousand."""

EXIF_BYTES = 4 * 2**20
"""Bytes that may be read for EXIF."""

EXIF_CHARACTERS = 2**17
"""EXIF tags as json longer than this are not kept; the EXIF of a JPEG is at most 64 KB."""


@dataclass(frozen=True, slots=True)
class Resized:
    """What became of one file.

    Args:
        hashes: of the file, by algorithm: ``sha256`` and ``compute_hash``.
        hash_matches: whether the file is the one that the source hashed, None without a hash.
        error_class: ``not_an_image``, ``too_many_pixels``, ``too_small``, ``aspect_ratio``,
            ``decode``, ``hash_mismatch`` or one of ``Signals.refusal``; None for an image.
        error_message: img2dataset's message; None for an image.
        scaled: the image, None when there is an error.
        exif: the file's EXIF tags as one json object, ``{}`` when it has none.
    """

    hashes: dict[str, str]
    hash_matches: bool | None
    error_class: str | None
    error_message: str | None
    scaled: "Scaled | None" = None
    exif: str | None = None


class ImageResizer:
    """Resizes and encodes; any number of threads may call it at once.

    Args:
        settings: size, mode, format and limits.

    Raises:
        ConfigurationError: settings that do not go together.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        # cv2 takes a second to import, which whoever only loads the code location is spared.
        from clip_assets.download import scaling

        if settings.encode_format == "png" and settings.encode_quality > PNG_LEVELS:
            raise ConfigurationError(
                "download.encode_quality",
                str(settings.encode_quality),
                f"0 to {PNG_LEVELS}, as it is the level of compression of a png",
                "Set it, for example to 3.",
            )
        self._settings = settings
        self._room = DecodingRoom(settings.decoding_bytes)
        self._refused = scaling.RefusedError
        self._scale = scaling.Scaler(settings, blurrer() if settings.blur_faces else None)

    def __call__(self, body: bytes, pair: Mapping[str, Any]) -> Resized:
        """Resize one file.

        Args:
            body: the file.
            pair: its row of pairs, for its hashes and ``face_bboxes``.
        """
        hashes = self._hashes(body)
        matches = _matches(body, hashes, pair)

        def failed(error_class: str, message: str) -> Resized:
            return Resized(hashes, matches, error_class, message)

        if matches is False and self._settings.verify_hash == "fail":
            return failed("hash_mismatch", "hash mismatch")
        try:
            header = headers.read(body)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return failed("too_many_pixels", "image area too large")
        except Exception:  # what strangers' files make of Pillow's readers of headers
            return failed("not_an_image", "Image decoding error")
        if header.pixels > self._settings.max_pixels:
            return failed("too_many_pixels", "image area too large")
        cost = self._scale.memory(header)
        if cost > self._room.size:
            message = f"image area too large: {cost:,} of {self._room.size:,} bytes for all"
            return failed("too_many_pixels", message)
        boxes = pair["face_bboxes"] if self._settings.blur_faces else None
        try:
            with self._room.taken(cost):
                scaled = self._scale(header.body, boxes, body)
        except self._refused as refusal:
            return failed(refusal.error_class, one_line(refusal.message))
        exif = _exif(body) if self._settings.extract_exif else None
        return Resized(hashes, matches, None, None, scaled, exif)

    def _hashes(self, body: bytes) -> dict[str, str]:
        names = {"sha256", self._settings.compute_hash} - {"none"}
        return {name: _hash(name, body) for name in names}


def _hash(name: str, body: bytes) -> str:
    return hashlib.new(name, body, usedforsecurity=False).hexdigest()


def _matches(body: bytes, hashes: Mapping[str, str], pair: Mapping[str, Any]) -> bool | None:
    """Whether the file is the one that the source hashed; its strongest hash counts."""
    for name in SOURCE_HASHES:
        if expected := pair.get(name):
            return (hashes.get(name) or _hash(name, body)) == expected.lower()
    return None


class _TooMuchError(Exception):
    """EXIF that would take more than its share to read."""


class _Bounded(io.BytesIO):
    """A file of which the reader of EXIF gets only so much.

    What strangers' files point to they can point to many times. Every value that the reader makes
    is read through this, which bounds its time and memory; a thread cannot be stopped from outside.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._reads_left = EXIF_READS
        self._bytes_left = EXIF_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """``size`` bytes, or what is left.

        Raises:
            _TooMuchError: a bound is reached.
        """
        content = super().read(size)
        self._reads_left -= 1
        self._bytes_left -= len(content)
        if self._reads_left < 0 or self._bytes_left < 0:
            raise _TooMuchError
        return content


def _exif(body: bytes) -> str | None:
    """EXIF tags as img2dataset writes them, None when they cannot be read or are too many."""
    import exifread

    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    try:
        tags = exifread.process_file(_Bounded(body), details=False)
    except Exception:
        return None
    told = json.dumps({name: str(tag).strip() for name, tag in tags.items() if tag is not None})
    return told if len(told) <= EXIF_CHARACTERS else None
