"""Bytes of a stranger's file to an image for the tar, by img2dataset's own resizer.

The only module that imports img2dataset. It loads the resizer's file alone: the package
would bring pandas, wandb and torch with it (9 s and hundreds of MB; the file alone takes 2 s).
Which rows an outcome becomes is decided in ``samples``.

Memory: a decoded image is ``max_pixels`` x 3 bytes; one with transparency is matted in float64
and counts ``ALPHA_COST`` times. Images above ``BIG_PIXELS`` are decoded one at a time.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from clip_assets.download.faults import one_line
from clip_assets.errors import ConfigurationError
from clip_assets.settings import Download

BIG_PIXELS = 16 * 2**20
"""Images above this are decoded one at a time."""

ALPHA_COST = 4
"""Memory of a pixel with transparency against one without: matting makes float64 copies."""

_CLASSES = {"image too small": "too_small", "aspect ratio too large": "aspect_ratio"}


@dataclass(frozen=True, slots=True)
class Resized:
    """What became of one file.

    Args:
        sha256: of the file.
        hash_matches: whether the file is the one that the source hashed, None without a hash.
        error_class: ``not_an_image``, ``too_many_pixels``, ``too_small``, ``aspect_ratio``,
            ``decode`` or ``hash_mismatch``; None for an image.
        error_message: img2dataset's message; None for an image.
        image: encoded, None when there is an error, as all that follow.
        width: of ``image`` in pixels.
        height: of ``image`` in pixels.
        original_width: of the file's image in pixels.
        original_height: of the file's image in pixels.
        exif: the file's EXIF tags as one json object, ``{}`` when it has none.
    """

    sha256: str
    hash_matches: bool | None
    error_class: str | None
    error_message: str | None
    image: bytes | None = None
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    exif: str | None = None


class ImageResizer:
    """Resizes and encodes; any number of threads may call it at once.

    Args:
        settings: size, mode, format and limits.

    Raises:
        ConfigurationError: settings that do not go together.
    """

    def __init__(self, settings: Download) -> None:
        self._settings = settings
        self._big = threading.Lock()
        try:
            self._resize = _load("resizer").Resizer(
                image_size=settings.image_size,
                resize_mode=settings.resize_mode,
                resize_only_if_bigger=settings.resize_only_if_bigger,
                encode_quality=settings.encode_quality,
                encode_format=settings.encode_format,
                skip_reencode=settings.skip_reencode,
                min_image_size=settings.min_image_size,
                max_aspect_ratio=settings.max_aspect_ratio or float("inf"),
                blurrer=_load("blurrer").BoundingBoxBlurrer() if settings.blur_faces else None,
            )
        except ValueError as error:
            raise ConfigurationError(
                "download.encode_quality", str(error), "one for the format", "Set it."
            ) from None

    def __call__(self, body: bytes, pair: Mapping[str, Any]) -> Resized:
        """Resize one file.

        Args:
            body: the file.
            pair: its row of pairs, for ``sha256``, ``md5`` and ``face_bboxes``.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        matches = _matches(body, sha256, pair)

        def failed(error_class: str, message: str) -> Resized:
            return Resized(sha256, matches, error_class, message)

        if matches is False and self._settings.verify_hash == "fail":
            return failed("hash_mismatch", "hash mismatch")
        try:
            pixels = _pixels(body)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return failed("too_many_pixels", "image area too large")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            return failed("not_an_image", "Image decoding error")
        if pixels > self._settings.max_pixels:
            return failed("too_many_pixels", "image area too large")
        boxes = pair["face_bboxes"] if self._settings.blur_faces else None
        with self._big if pixels > BIG_PIXELS else contextlib.nullcontext():
            *made, error = self._resize(io.BytesIO(body), boxes)
        if error is not None:
            return failed(_CLASSES.get(error, "decode"), one_line(error))
        exif = _exif(body) if self._settings.extract_exif else None
        return Resized(sha256, matches, None, None, *made, exif=exif)


def _matches(body: bytes, sha256: str, pair: Mapping[str, Any]) -> bool | None:
    if pair["sha256"]:
        return sha256 == pair["sha256"].lower()
    if pair["md5"]:
        return hashlib.md5(body, usedforsecurity=False).hexdigest() == pair["md5"].lower()
    return None


def _pixels(body: bytes) -> int:
    """Cost of decoding a file in opaque pixels, from its header."""
    with Image.open(io.BytesIO(body)) as image:
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        return image.width * image.height * (ALPHA_COST if has_alpha else 1)


def _exif(body: bytes) -> str | None:
    """EXIF tags as img2dataset writes them, None when they cannot be read."""
    import exifread

    try:
        tags = exifread.process_file(io.BytesIO(body), details=False)
    except Exception:
        return None
    return json.dumps({name: str(tag).strip() for name, tag in tags.items() if tag is not None})


def _load(name: str) -> Any:
    """One module of img2dataset, without its package."""
    # albumentations looks for updates over the network unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # noqa: TID251 (not our setting)
    package = importlib.util.find_spec("img2dataset")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location(
        f"img2dataset_{name}", Path(package.origin).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # It silences the decoders by pointing the process's stdout and stderr at /dev/null, which
    # two threads at once would leave there for good.
    module.SuppressStdoutStderr = contextlib.nullcontext
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    return module
