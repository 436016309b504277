"""The pipeline ends, with all its threads, whatever goes wrong in it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.inference.pipeline import END, Pace, embedded
from clip_assets.inference.samples import Sample
from clip_assets.settings import InferenceSettings


class Source:
    """Endless samples, and whether anybody still reads them."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.taken = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[Sample | None]:
        try:
            while True:
                yield Sample(str(self.taken), self._content, "a caption")
                self.taken += 1
                if self.taken % 50 == 0:
                    yield END
        finally:
            self.is_closed = True


class Failing:
    """An encoder that fails in one of its steps."""

    def __init__(self, encoder: Encoder, step: str, error: BaseException) -> None:
        self._encoder, self._step, self._error = encoder, step, error

    def __getattr__(self, name: str) -> Any:
        if name == self._step:
            return self._fail
        return getattr(self._encoder, name)

    def _fail(self, _: object) -> None:
        raise self._error


def workers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("clip-assets")]


@pytest.mark.parametrize("step", ["preprocess", "encode_images", "encode_captions"])
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt("broken")])
def test_an_error_of_the_encoder_arrives_and_leaves_no_thread(
    inference: InferenceSettings,
    encoder: Encoder,
    images: Callable[..., bytes],
    step: str,
    error: BaseException,
) -> None:
    source, failing = Source(images(1)), Failing(encoder, step, error)
    before = workers()
    # The error is held, and with it every frame that it came through.
    with pytest.raises(type(error), match="broken"):
        list(embedded(iter(source), failing, inference, Pace(encoder.workers)))  # type: ignore[arg-type]
    assert workers() == before
    assert source.is_closed


def test_a_writer_that_fails_ends_the_pipeline(
    inference: InferenceSettings, encoder: Encoder, images: Callable[..., bytes]
) -> None:
    source = Source(images(1))
    before = workers()
    parts = embedded(iter(source), encoder, inference, Pace(encoder.workers))
    part = next(parts)
    read = source.taken
    parts.close()
    assert len(part.samples) == len(part.image) == len(part.text) == 50
    assert read < 50 + 10 * encoder.batch_size * (encoder.workers + 2), "bounded ahead of the model"
    assert workers() == before
    assert source.is_closed
