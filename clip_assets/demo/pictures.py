"""Image files of scenes, written by all cores when there are many.

See ``demo.world`` for what they show.
"""

import hashlib
import io
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from clip_assets import processes
from clip_assets.demo.drawing import draw
from clip_assets.demo.scenes import Scene

IN_PROCESS_FILES = 300
"""Starting processes takes as long as writing about so many files."""

FORMATS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {"compress_level": 1}),
    ".webp": ("WEBP", {"method": 0}),
    ".jpg": ("JPEG", {}),
}
"""Fast settings: the demo is waited for, and nobody keeps its files."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file to write; the name's suffix decides the format, PNG ignores ``quality``."""

    name: str
    scene: Scene
    quality: int


def write_images(folder: Path, files: Sequence[ImageFile]) -> list[str]:
    """Draw and write ``files`` into ``folder``; returns the sha256 of each."""
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write_image, folder)
    if len(files) <= IN_PROCESS_FILES:
        return [write(file) for file in files]
    context = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=_begin_work) as pool:
        return list(pool.map(write, files, chunksize=50))


def _begin_work() -> None:
    """Leave Ctrl-C, which a terminal sends to all, to the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.follow_parent()


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """``image`` encoded as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _write_image(folder: Path, file: ImageFile) -> str:
    buffer = io.BytesIO()
    image_format, options = FORMATS[Path(file.name).suffix]
    draw(file.scene).save(buffer, image_format, quality=file.quality, **options)
    (folder / file.name).write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
