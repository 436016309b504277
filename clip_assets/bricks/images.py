"""Image files to those that tars hold, and to pixels; by threads, as libraries release the lock."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import Brick, Each
from clip_assets.encoders import images
from clip_assets.errors import at_least
from clip_assets.inference.samples import NO_IMAGE
from clip_assets.settings import DownloadSettings


class Resize(Brick):
    """Image files as shards hold them: img2dataset's sizes, formats and limits.

    Adds ``width``, ``height``, ``original_width``, ``original_height``, hashes, and ``exif`` where
    the settings ask for it. The fault of a file that is none or is refused is its ``error_class``.

    Args:
        settings: what files become, by default as in a new pool.
        threads: by default one for each core that this process may use.
    """

    def __init__(self, settings: DownloadSettings | None = None, threads: int = 0) -> None:
        at_least("threads", threads, 0)
        self._settings = settings or DownloadSettings()
        self._threads = threads or len(os.sched_getaffinity(0))

    def __call__(self, data: Iterable[Datum]) -> Iterator[Datum]:
        """See ``Brick``."""
        from clip_assets.download.resize import ImageResizer

        resize = ImageResizer(self._settings)

        def one(datum: Datum) -> Datum:
            if datum.image is None:
                return datum.failed(NO_IMAGE)
            resized = resize(datum.image, {"face_bboxes": None} | datum.fields)
            if resized.scaled is None:
                told = datum.told(
                    error_class=resized.error_class, error_message=resized.error_message
                )
                return told.failed(resized.error_class or images.UNDECODABLE)
            scaled = resized.scaled
            told = datum.told(
                width=scaled.width,
                height=scaled.height,
                original_width=scaled.original_width,
                original_height=scaled.original_height,
                exif=resized.exif,
                hash_matches=resized.hash_matches,
                perceptual_hash=scaled.perceptual_hash,
                **resized.hashes,
            )
            return replace(told, image=scaled.image)

        return Each(one, self._threads)(data)


class Decode(Brick):
    """Pixels of image files.

    Args:
        decode: a file to an array, by default all of its pixels as RGB; ``CenterCrop`` of
            ``clip_assets.streaming`` gives squares.
        threads: by default one for each core that this process may use.
    """

    def __init__(
        self, decode: Callable[[bytes], npt.NDArray[Any]] | None = None, threads: int = 0
    ) -> None:
        at_least("threads", threads, 0)
        self._decode = decode or _whole
        self._threads = threads or len(os.sched_getaffinity(0))

    def __call__(self, data: Iterable[Datum]) -> Iterator[Datum]:
        """See ``Brick``."""

        def one(datum: Datum) -> Datum:
            if datum.image is None:
                return datum.failed(NO_IMAGE)
            return replace(datum, pixels=self._decode(datum.image))

        return Each(one, self._threads)(data)


def _whole(content: bytes) -> npt.NDArray[np.uint8]:
    return images.decode(content, lambda image: np.asarray(image.convert("RGB")))
