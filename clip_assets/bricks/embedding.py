"""Vectors of images and captions, and scores of vectors.

How samples become vectors is said by ``inference.pipeline``; scores are functions of many rows.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import Brick
from clip_assets.encoders.encoder import Encoder
from clip_assets.inference.pipeline import END, Pace, embedded
from clip_assets.inference.samples import Sample
from clip_assets.inference.summary import cosines
from clip_assets.inference.threads import batched
from clip_assets.settings import InferenceSettings

PIECE = 1024
"""Data that are embedded together, and that wait for each other."""

SIMILARITY = "similarity"

Rows = npt.NDArray[np.float16]
Scores = npt.NDArray[np.floating]


class Embed(Brick):
    """Vectors of data with an image file; an image that cannot be decoded is a fault.

    Memory: that of ``pipeline.embedded``, and the files of three pieces.

    Args:
        encoder: the model: ``pool.encoder()``, or of ``encoders.openclip.loading``.
        settings: threads.
        sides: ``image`` and ``text``, or one of them.
        piece: data that are embedded together; captions of a piece are sorted by length.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: InferenceSettings | None = None,
        sides: Sequence[str] = layout.SIDES,
        piece: int = PIECE,
    ) -> None:
        self._encoder = encoder
        self._settings = settings or InferenceSettings()
        self._sides = tuple(sides)
        self._piece = piece

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``."""
        waiting: deque[list[Datum]] = deque()

        def samples() -> Generator[Sample | None]:
            for batch in batched(data, self._piece):
                waiting.append(batch)
                for number, datum in enumerate(batch):
                    yield Sample(str(number), datum.image, datum.caption, fault=datum.fault)
                yield END

        pace = Pace(self._encoder.workers)
        made = embedded(samples(), self._encoder, self._settings, pace, self._sides)
        with closing(made) as pieces:
            for piece in pieces:
                batch = waiting.popleft()
                for sample in piece.faulty:
                    number = int(sample.key)
                    batch[number] = batch[number].failed(sample.fault)
                by_side = {"image": piece.image, "text": piece.text}
                for row, sample in enumerate(piece.samples):
                    number = int(sample.key)
                    vectors = {side: by_side[side][row] for side in self._sides}
                    batch[number] = replace(batch[number], vectors=batch[number].vectors | vectors)
                yield from batch


class Scorer(Brick):
    """A number of each datum's vectors, as a field.

    Args:
        name: of the field.
        score: vectors of images and of captions, (n, dim) float16 each, to (n,) scores; by default
            their cosines.
        piece: data that are scored together.
    """

    def __init__(
        self,
        name: str = SIMILARITY,
        score: Callable[[Rows, Rows], Scores] = cosines,
        piece: int = PIECE,
    ) -> None:
        self._name, self._score, self._piece = name, score, piece

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``.

        Raises:
            KeyError: a datum has no vectors.
        """
        for batch in batched(data, self._piece):
            sound = [datum for datum in batch if not datum.fault]
            numbers: Sequence[float] = ()
            if sound:
                image, text = (
                    np.stack([datum.vectors[side] for datum in sound]) for side in layout.SIDES
                )
                numbers = np.asarray(self._score(image, text)).tolist()
            scores = iter(numbers)
            for datum in batch:
                yield datum if datum.fault else datum.told(**{self._name: next(scores)})
