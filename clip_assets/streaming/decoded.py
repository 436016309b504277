"""Samples to what a training takes in at a step; what cannot be used is told, and left out.

How batches are read ahead is the matter of ``loader``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ImageError
from clip_assets.inference.samples import NO_IMAGE, Sample
from clip_assets.streaming import said_scores
from clip_assets.streaming.batch_memory import BatchMemory
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.stream import Stream

if TYPE_CHECKING:
    from torch import Tensor

QUERY = "query"
"""Field of a sample that a list of urls gave: the list's name."""

Decode = Callable[[bytes], npt.NDArray[Any]]
"""An image file to an array that is alike in shape and type for all; raises ``ImageError``."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A sample that a batch lacks.

    Args:
        key: of the sample in its tar.
        reason: one of few.
    """

    key: str
    reason: str


@dataclass(frozen=True)
class TrainingBatch:
    """Samples of a step, row i of everything about the same.

    Args:
        images: (n, 3, side, side) uint8 with ``CenterCrop``, channels last in memory.
        captions: (n,), empty where there is none.
        uids: (n,); the key of a sample that has none.
        scores: (n,) float32 each, nan for a sample that has none, by name.
        flaws: what is left out; of urls, what was tried in vain since the last batch.
        queries: (n,), which list of urls each is of; empty where there are none.
    """

    images: "Tensor"
    captions: list[str]
    uids: list[str]
    scores: "dict[str, Tensor]" = field(default_factory=dict[str, Any])
    flaws: list[Flaw] = field(default_factory=list[Flaw])
    queries: list[str] = field(default_factory=list[str])

    def __len__(self) -> int:
        """How many samples."""
        return len(self.uids)

    def pin_memory(self) -> Self:
        """The same, from where an accelerator can fetch it by itself."""
        scores = {name: values.pin_memory() for name, values in self.scores.items()}
        images = self.images.pin_memory()
        return replace(self, images=images, scores=scores)


class Decoded:
    """A stream with its images decoded: to torch a data set whose items are whole batches' worth.

    ``DataLoader(decoded, batch_sampler=Batches(stream), collate_fn=decoded.collate)`` reads it.

    Args:
        stream: which samples.
        decode: what is made of an image file.
        scores: fields that samples or their pool say, to be numbers of a batch.

    Raises:
        ConfigurationError: no sample that was looked at says one of the scores.
    """

    def __init__(
        self, stream: Stream, decode: Decode | None = None, scores: Sequence[str] = ()
    ) -> None:
        self.stream = stream
        self._decode = decode or CenterCrop()
        said_scores.check(scores, said_scores.samples_of(stream.sets))
        self._scores = tuple(scores)

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self.stream)

    def __getitem__(self, position: int) -> "Item":
        """The sample at a position, counted over all epochs."""
        return self.item(*self.stream.places([position])[0])

    def __getitems__(self, positions: Sequence[int]) -> "list[Item]":
        """The samples at some positions."""
        return [self.item(*place) for place in self.stream.places(positions)]

    def memory(self, *, pin: bool = False) -> BatchMemory | None:
        """Where the pixels of batches may be put; None where their form is not known before."""
        return (
            BatchMemory(self._decode.side, pin=pin)
            if isinstance(self._decode, CenterCrop)
            else None
        )

    def item(self, number: int, row: int, into: npt.NDArray[np.uint8] | None = None) -> "Item":
        """One row of one set, decoded.

        Args:
            number: of the set.
            row: of it.
            into: where to put the pixels, a row of a batch's memory.

        Raises:
            SourceError: what holds it cannot be read.
            DamagedError: what holds it is not what it was.
        """
        sample = self.stream.sets[number].read(row)
        if sample.fault or sample.image is None:
            return Item(sample, sample.fault or NO_IMAGE)
        try:
            return Item(sample, "", self._pixels(sample.image, into))
        except ImageError as error:
            return Item(sample, error.found)

    def piece(
        self, start: int, places: "Sequence[tuple[int, int]]", memory: "Tensor | None"
    ) -> "list[Item]":
        """Some rows of some sets, decoded, with their pixels in a stretch of a batch.

        Args:
            start: of the stretch.
            places: number of the set, and row of it.
            memory: of the batch.
        """
        pixels = None if memory is None else memory.numpy()
        return [
            self.item(*place, None if pixels is None else pixels[start + number])
            for number, place in enumerate(places)
        ]

    def _pixels(self, image: bytes, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[Any]:
        if into is not None and isinstance(self._decode, CenterCrop):
            return self._decode(image, into)
        return self._decode(image)

    def collate(self, items: "Sequence[Item]", memory: "Tensor | None" = None) -> TrainingBatch:
        """Samples as one batch.

        Args:
            items: the samples.
            memory: of which they have the rows, in this order; None if they have their own.
        """
        return collated(items, self._decode, self._scores, memory)


@dataclass(frozen=True, slots=True)
class Item:
    """A decoded sample.

    Args:
        sample: as it was read.
        flaw: why it cannot be used, empty if it can.
        pixels: None if it cannot be used.
    """

    sample: Sample
    flaw: str
    pixels: npt.NDArray[Any] | None = None


def collated(
    items: Sequence[Item],
    decode: Decode,
    scores: Sequence[str],
    memory: "Tensor | None" = None,
) -> TrainingBatch:
    """Decoded samples as one batch.

    Args:
        items: those that have a flaw are told, and left out.
        decode: what made them; has a ``side`` where the pixels are a square's.
        scores: see ``Decoded``.
        memory: see ``Decoded.collate``.
    """
    import torch

    sound = [item for item in items if item.pixels is not None]
    if memory is None or len(sound) < len(items):
        arrays = [item.pixels for item in sound if item.pixels is not None]
        side = getattr(decode, "side", 0)
        pixels = np.stack(arrays) if arrays else np.empty((0, side, side, 3), np.uint8)
        images = torch.from_numpy(pixels)
    else:
        images = memory
    fields = [item.sample.fields for item in sound]
    return TrainingBatch(
        # A view: the pixels stay as they were decoded, in the order that accelerators like.
        images.permute(0, 3, 1, 2) if images.ndim == 4 and images.shape[3] == 3 else images,
        [item.sample.caption or "" for item in sound],
        [_uid(item.sample) for item in sound],
        {name: torch.tensor([_number(said.get(name)) for said in fields]) for name in scores},
        [Flaw(item.sample.key, item.flaw) for item in items if item.pixels is None],
        [told for said in fields if isinstance(told := said.get(QUERY), str)],
    )


def _uid(sample: Sample) -> str:
    uid = sample.fields.get("uid")
    return uid if isinstance(uid, str) else sample.key


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
