"""Images that no training sees, with their captions or classes.

They are read anew for every look: nothing of them stays in memory but vectors.
"""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from clip_assets.errors import ImageError, SourceMissingError
from clip_assets.files.filesystem import filesystem
from clip_assets.inference.samples import Sample
from clip_assets.inference.sources import MemberNames, input_of
from clip_assets.inference.threads import batched, mapped
from clip_assets.streaming.cropping import CenterCrop, Square

if TYPE_CHECKING:
    import torch

NAMES = "classnames.txt"
"""Beside tars of clip_benchmark: the classes, a line each; a sample's member ``cls`` is a line's
number, from 0."""

BATCH = 256


@dataclass(frozen=True)
class HeldOutBatch:
    """Some of them.

    Args:
        images: (n, 3, side, side) uint8.
        told: (n,) captions or classes.
    """

    images: "torch.Tensor"
    told: list[str]


class HeldOut:
    """Images with captions or classes.

    Args:
        where: tars, as path, url or pattern, or a folder of tars or of images.
        field: of the json, that says the class; empty for captions. Images in a folder without
            json are of the class that their folder is named after.

    Raises:
        SourceMissingError: nothing is there.
    """

    def __init__(self, where: str, field: str = "") -> None:
        self._where, self._field = where, field
        self._names = _names(where) if field else []
        self._members = MemberNames(caption="cls" if self._names else "txt")
        self._pieces = input_of(where, self._members).pieces
        self.digest = " ".join(piece.version for piece in self._pieces)

    def batches(self, side: int) -> Generator[HeldOutBatch]:
        """All of them that can be decoded and have a caption or class, in their order.

        Raises:
            SourceMissingError: there is none.
        """
        import torch

        crop, threads = CenterCrop(side), len(os.sched_getaffinity(0))

        def decoded(sample: Sample) -> tuple[Square, str] | None:
            told = self._told(sample)
            if sample.image is None or not told:
                return None
            try:
                return crop(sample.image), told
            except ImageError:
                return None

        samples = (sample for piece in self._pieces for sample in piece.samples())
        some = False
        for batch in batched(mapped(decoded, samples, threads, BATCH), BATCH):
            sound = [one for one in batch if one is not None]
            if sound:
                some = True
                pixels = np.stack([square for square, _ in sound])
                images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
                yield HeldOutBatch(images, [told for _, told in sound])
        if not some:
            kind = "classes" if self._field else "captions"
            raise SourceMissingError(
                self._where,
                f"no images with {kind}",
                f"images with {kind}",
                f"Tars need a json with the field {self._field!r}." if self._field else "See why.",
            )

    def _told(self, sample: Sample) -> str:
        if not self._field:
            return (sample.caption or "").strip()
        if self._names:
            number = (sample.caption or "").strip()
            known = number.isdecimal() and int(number) < len(self._names)
            return self._names[int(number)] if known else ""
        told = sample.fields.get(self._field)
        if told is not None:
            return str(told).strip()
        folder = sample.key.rpartition("/")[0].rpartition("/")[2]
        return folder.replace("_", " ")


def classes(told: Sequence[str]) -> list[str]:
    """The different classes, by name."""
    return sorted(set(told))


def _names(where: str) -> list[str]:
    """The classes of clip_benchmark's layout, beside the tars or above their folder."""
    fs, path = filesystem(where)
    folder = path.rstrip("/")
    for parent in (folder, folder.rpartition("/")[0]):
        if fs.isfile(file := f"{parent}/{NAMES}"):
            content = cast("bytes", fs.cat_file(file))
            return [line.strip() for line in content.decode().splitlines() if line]
    return []
