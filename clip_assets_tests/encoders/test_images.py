"""Image files of strangers: what is decoded, how, and what is refused with which reason."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_assets.encoders.images import decode
from clip_assets.errors import ImageError


def as_it_is(content: bytes) -> np.ndarray:
    return decode(content, lambda image: np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGB", "WEBP"),
        ("RGB", "GIF"),
        ("RGB", "BMP"),
        ("CMYK", "TIFF"),
    ],
)
def test_every_mode_becomes_rgb(images: Callable[..., bytes], mode: str, form: str) -> None:
    content = images(1, mode=mode, form=form)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(as_it_is(content), expected)


def test_16_bit_grayscale_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    np.testing.assert_array_equal(as_it_is(file.getvalue())[..., 0], shades >> 8)


def test_exif_rotation_is_not_applied(images: Callable[..., bytes]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = images(1, (20, 50), exif=exif)
    assert as_it_is(content).shape == (50, 20, 3)


def test_palette_with_transparency_is_decoded_without_a_warning() -> None:
    image = Image.new("P", (4, 4))
    image.putpalette(list(range(256)) * 3)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes([0, 128, 255]))
    assert as_it_is(file.getvalue()).shape == (4, 4, 3)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"

DDS_OF_UNKNOWN_PIXELS = (
    b"DDS " + struct.pack("<7I", 124, 0x1007, 9, 9, 0, 0, 0) + bytes(44)
    + struct.pack("<2I4s5I", 32, 4, b"ZZZZ", 0, 0, 0, 0, 0) + bytes(200)
)  # fmt: skip


def png_that_claims(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 100) + b"IDAT"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty image"),
        (b"\0", "undecodable image"),
        (b"<html>not found</html>", "undecodable image"),
        (b"\xff\xd8\xff\xe0", "undecodable image"),
        (png_that_claims(9_000, 9_000), "undecodable image"),
        (png_that_claims(10_000, 10_000), "too large image"),
        (png_that_claims(60_000, 60_000), "too large image"),
        (DDS_OF_UNKNOWN_PIXELS, "undecodable image"),
    ],
    ids=["empty", "nul", "html", "jpeg-header", "hollow", "large", "bomb", "dds"],
)
def test_what_cannot_be_decoded_has_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as refusal:
        as_it_is(content)
    assert refusal.value.found == reason


def test_what_the_decoder_said_is_a_detail_of_its_own() -> None:
    with pytest.raises(ImageError) as refusal:
        as_it_is(b"")
    error = pickle.loads(pickle.dumps(refusal.value))
    assert error.detail == "0 bytes"
    assert error.advice == "Use another image."
    assert str(error) == (
        "image file: found empty image (0 bytes), expected an image that can be decoded. "
        "Use another image."
    )


def test_postscript_is_not_given_to_its_interpreter() -> None:
    with pytest.raises(ImageError, match="of no format that is known"):
        as_it_is(POSTSCRIPT)


def test_a_cut_jpeg_is_refused_and_not_half_gray(images: Callable[..., bytes]) -> None:
    content = images(1, (200, 200))
    with pytest.raises(ImageError, match="undecodable image"):
        as_it_is(content[: len(content) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of odd tags
@given(data=st.data())
def test_damaged_files_are_decoded_or_refused(
    images: Callable[..., bytes], data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]))
    content = bytearray(images(1, form=form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = as_it_is(bytes(content))
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
