"""Samples to embeddings: decode, batch and model, each step working while the others do.

Knows no store and no tar: it takes samples piece by piece (a tar, a stretch of a folder) and
gives the vectors of each piece. Threads decode ahead of the model; several batches are in the
model at once, as many as the encoder asks for; the captions of a piece are sorted by length, so
that a batch holds none much longer than the others.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder, Mask, Pixels, Vectors
from clip_assets.errors import ImageError
from clip_assets.inference.samples import NO_IMAGE, Sample
from clip_assets.inference.threads import ahead, batched, mapped
from clip_assets.settings import InferenceSettings

BATCHES_AHEAD = 2
"""Decoded batches that wait for the model."""

END = None
"""Follows the last sample of every piece; checked for as ``None``."""


@dataclass(frozen=True, slots=True)
class EmbeddedPiece:
    """Embeddings of one piece.

    Args:
        samples: the usable ones, without their images.
        image: (n, dim) float16 unit rows; row i belongs to the i-th sample that keeps none.
        text: likewise, of the captions; a sample without one has the empty caption's.
        is_cut: likewise, whether the text tower reads the caption's beginning alone.
        faulty: the other samples, likewise, with their faults.
    """

    samples: list[Sample]
    image: Vectors
    text: Vectors
    is_cut: Mask
    faulty: list[Sample]

    @property
    def dropped(self) -> Counter[str]:
        """The other samples, by reason."""
        return Counter(sample.fault for sample in self.faulty)


@dataclass(slots=True)
class Pace:
    """How fast a pipeline ran.

    Args:
        workers: calls of the model at once.
        samples: of finished pieces, unusable ones too; not those that keep their vectors.
        pieces: that are finished.
        model_s: seconds in the model, over all workers.
        started: when it began, by the monotonic clock.
        ended: when ``finish`` was called last.
    """

    workers: int
    samples: int = 0
    pieces: int = 0
    model_s: float = 0.0
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def finish(self) -> None:
        """What follows does not count, unless it is called again."""
        self.ended = time.monotonic()

    def figures(self) -> dict[str, float | None]:
        """Rate and share of the time that the model was busy; null when nothing was done."""
        seconds = ((self.ended or time.monotonic()) - self.started) or 1e-9
        done = bool(self.samples)
        return {
            "images_per_s": round(self.samples / seconds, 1) if done else None,
            "model_utilisation": round(self.model_s / seconds / self.workers, 3) if done else None,
        }


def embedded(
    samples: Iterable[Sample | None],
    encoder: Encoder,
    settings: InferenceSettings,
    pace: Pace,
    sides: Sequence[str] = layout.SIDES,
) -> Generator[EmbeddedPiece]:
    """Embed samples, piece by piece.

    Memory: samples (without images) and vectors of two pieces, and ``BATCHES_AHEAD`` batches of
    images and one more for each of the encoder's workers, as files and as pixels at the
    model's size.

    Args:
        samples: in order, ``END`` after the last of each piece.
        encoder: the model.
        settings: threads.
        pace: counts along.
        sides: ``image`` and ``text`` or one of them; the other's vectors have no rows.
    """
    size = encoder.batch_size
    window = BATCHES_AHEAD * size
    threads = settings.decode_threads or os.cpu_count() or 1
    read = ahead(samples, window)
    decode, begin = partial(_decoded, encoder, sides), encoder.begin_work
    decoded = mapped(decode, read, threads, window, begin)
    jobs = _jobs(decoded, encoder, size, sides)
    workers = encoder.workers
    done = mapped(lambda job: job(), jobs, workers, workers + 1, begin)
    # An error keeps its frames alive, and with them whatever is not closed.
    with closing(read), closing(decoded), closing(done):
        yield from _pieces(done, encoder.dim, pace)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A sample without its file; pixels where vectors of its image are to be made."""

    sample: Sample
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Vectors of one call of the model."""

    side: str
    vectors: Vectors
    is_cut: Mask
    seconds: float


@dataclass(frozen=True, slots=True)
class _End:
    """All batches of a piece were given; ``order`` is that of the captions."""

    samples: list[Sample]
    faulty: list[Sample]
    order: list[int]


def _decoded(encoder: Encoder, sides: Sequence[str], sample: Sample | None) -> _Decoded | None:
    if sample is None:
        return None
    pixels, fault = None, sample.fault
    if "image" in sides and not fault and sample.keeps is None:
        try:
            if sample.image is None:
                fault = NO_IMAGE
            else:
                pixels = encoder.preprocess(sample.image)
        except ImageError as error:
            fault = error.found
    return _Decoded(replace(sample, image=None, fault=fault), pixels)


def _jobs(
    decoded: Iterable[_Decoded | None], encoder: Encoder, size: int, sides: Sequence[str]
) -> Generator[Callable[[], _Batch | _End]]:
    """What the model's workers do: images as they come, captions at the end of each piece."""
    samples: list[Sample] = []
    faulty: list[Sample] = []
    batch: list[Pixels] = []
    for item in decoded:
        if item is not None and item.sample.fault:
            faulty.append(item.sample)
        elif item is not None:
            samples.append(item.sample)
            batch += [] if item.pixels is None else [item.pixels]
        if batch and (item is None or len(batch) == size):
            yield partial(_images, encoder, batch)
            batch = []
        if item is None:
            told = [sample for sample in samples if sample.keeps is None and "text" in sides]
            captions = [sample.caption or "" for sample in told]
            order = sorted(range(len(captions)), key=lambda row: len(captions[row]))
            for rows in batched(order, size):
                texts = [captions[row] for row in rows]
                yield partial(_texts, encoder, texts)
            yield partial(_End, samples, faulty, order)
            samples, faulty = [], []


def _images(encoder: Encoder, images: list[Pixels]) -> _Batch:
    start = time.monotonic()
    vectors = encoder.encode_images(images)
    return _Batch("image", vectors, np.zeros(0, np.bool_), time.monotonic() - start)


def _texts(encoder: Encoder, captions: list[str]) -> _Batch:
    start = time.monotonic()
    vectors, is_cut = encoder.encode_captions(captions)
    return _Batch("text", vectors, is_cut, time.monotonic() - start)


def _pieces(done: Iterable[_Batch | _End], dim: int, pace: Pace) -> Generator[EmbeddedPiece]:
    empty = np.empty((0, dim), np.float16)
    sides: dict[str, list[Vectors]] = {"image": [empty], "text": [empty]}
    cut = [np.zeros(0, np.bool_)]
    for item in done:
        if isinstance(item, _Batch):
            sides[item.side].append(item.vectors)
            cut.append(item.is_cut)
            pace.model_s += item.seconds
            continue
        text, is_cut = (_in_order(parts, item.order) for parts in (sides["text"], cut))
        kept = sum(sample.keeps is not None for sample in item.samples)
        pace.samples += len(item.samples) - kept + len(item.faulty)
        pace.pieces += 1
        image = np.concatenate(sides["image"])
        yield EmbeddedPiece(item.samples, image, text, is_cut, item.faulty)
        sides, cut = {"image": [empty], "text": [empty]}, cut[:1]


def _in_order(parts: Sequence[npt.NDArray[Any]], order: list[int]) -> npt.NDArray[Any]:
    """Rows that were made by their captions' lengths, in the order of the captions."""
    by_length = np.concatenate(parts)
    rows = np.empty_like(by_length)
    rows[order] = by_length
    return rows
