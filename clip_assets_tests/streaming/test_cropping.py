"""Pixels for training are open_clip's, up to what reducing costs, and hostile files are told."""

import io

import numpy as np
import pytest
from PIL import Image

from clip_assets.errors import ConfigurationError, ImageError
from clip_assets.streaming.cropping import CenterCrop
from clip_assets_tests.models import draw, encoded


def oracle(content: bytes, side: int) -> np.ndarray:
    """As open_clip prepares an image for a model."""
    from torchvision.transforms import CenterCrop as Cropped
    from torchvision.transforms import InterpolationMode, Resize

    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(Cropped(side)(Resize(side, InterpolationMode.BICUBIC)(image)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("size", [(40, 48), (333, 250), (900, 620), (64, 64)])
def test_pixels_are_those_of_open_clip(form: str, size: tuple[int, int]) -> None:
    content = encoded(draw(1, size), form)
    pixels = CenterCrop(64)(content)
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
    # Smooth pictures: what differs is rounding, the decoders' and the filters'.
    assert np.abs(pixels.astype(int) - oracle(content, 64)).mean() < 2.5


@pytest.mark.parametrize("form", ["JPEG", "PNG", "PPM", "TIFF"])
@pytest.mark.parametrize("size", [(64, 64), (90, 200), (300, 150), (700, 600)])
def test_pixels_are_put_where_they_are_wanted(form: str, size: tuple[int, int]) -> None:
    content = encoded(draw(2, size), form)
    batch = np.zeros((3, 64, 64, 3), np.uint8)
    given = CenterCrop(64)(content, batch[1])
    assert np.shares_memory(given, batch)
    assert np.array_equal(batch[1], CenterCrop(64)(content))
    assert not batch[[0, 2]].any()
    assert np.abs(batch[1].astype(int) - oracle(content, 64)).mean() < 2.5


def test_the_middle_is_kept() -> None:
    halves = Image.new("RGB", (300, 100), "black")
    halves.paste(Image.new("RGB", (100, 100), (255, 0, 0)), (100, 0))
    assert np.abs(CenterCrop(50)(encoded(halves, "PNG")).astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_images_of_any_mode_become_rgb(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert CenterCrop(16)(encoded(draw(3).convert(mode), form)).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty image"),
        (b"<html>no image</html>", "undecodable image"),
        (encoded(draw(1))[:200], "undecodable image"),
        (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "too large image"),
    ],
)
def test_what_is_no_image_says_why(content: bytes, found: str) -> None:
    with pytest.raises(ImageError) as told:
        CenterCrop(16)(content)
    assert told.value.found == found


@pytest.mark.parametrize("side", [0, -1, 2**20])
def test_no_side_is_refused(side: int) -> None:
    with pytest.raises(ConfigurationError, match="side"):
        CenterCrop(side)


def test_most_jpegs_are_not_looked_at_closely() -> None:
    from clip_assets.streaming.cropping import _plain_jpeg

    assert _plain_jpeg(encoded(draw(1, (90, 70)))) == (90, 70)
    progressive = encoded(draw(1, (90, 70)), progressive=True)
    assert _plain_jpeg(progressive) == (90, 70)
    assert _plain_jpeg(encoded(draw(1), "PNG")) is None
    assert _plain_jpeg(progressive[:30]) is None
    # Many scans over a few bytes each are hours of a decoder's time.
    assert _plain_jpeg(progressive + 20 * b"\xff\xda\x00\x08") is None
