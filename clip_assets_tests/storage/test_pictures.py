"""Pictures show what they are given, are small, and are the same each time."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from clip_assets.storage.pictures import (
    SHEET_BYTES,
    SHEET_SIDE,
    THUMBNAIL,
    contact_sheet,
    histogram,
)

MANY = {f"{bin_ / 100:.2f}": bin_ for bin_ in range(201)}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("counts", [{"success": 7, "timeout": 3}, MANY, {"none": 0}, {}])
def test_a_histogram_is_small_and_the_same_each_time(counts: dict[str, int]) -> None:
    drawn = histogram("outcomes 00000", counts)
    assert drawn == histogram("outcomes 00000", counts)
    assert pixels(drawn).shape == (320, 700, 3)
    assert len(drawn) < 150_000
    assert b"matplotlib" not in drawn.lower()


def test_bars_are_as_high_as_their_counts() -> None:
    drawn = pixels(histogram("sizes", {"a": 100, "b": 50, "c": 0}))
    # Of the bars' colour the last channel is high and the first low; paper and ink are grey.
    heights = (drawn[:, :, 2] - drawn[:, :, 0] > 100).sum(axis=0)
    high, half, none = (int(third.max()) for third in np.array_split(heights[60:], 3))
    assert high > 100
    assert half == pytest.approx(high / 2, abs=2)
    assert none == 0


def test_what_is_told_changes_the_picture() -> None:
    drawn = [
        histogram("sizes", {"a": 1}),
        histogram("sizes of others", {"a": 1}),
        histogram("sizes", {"b": 1}),
        histogram("sizes", {"a": 2}),
        histogram("sizes", {"a": 1}, "pairs"),
    ]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("text", ["$x", r"$\frac{", "$$", "\n", "<b>", "x" * 5000])
def test_texts_of_strangers_are_drawn_as_they_are(text: str) -> None:
    assert pixels(histogram(text[:50], {text: 1})).shape == (320, 700, 3)


def encode(image: Image.Image, form: str) -> bytes:
    content = io.BytesIO()
    image.save(content, form)
    return content.getvalue()


def test_a_contact_sheet_has_the_images_row_by_row() -> None:
    colours = [(20 * n, 255 - 20 * n, 128) for n in range(SHEET_SIDE + 1)]
    images = [encode(Image.new("RGB", (300, 200), colour), "PNG") for colour in colours]
    with Image.open(io.BytesIO(contact_sheet(images))) as sheet:
        assert sheet.size == (SHEET_SIDE * THUMBNAIL, SHEET_SIDE * THUMBNAIL)
        for number, colour in enumerate(colours):
            row, column = divmod(number, SHEET_SIDE)
            found = sheet.getpixel((column * THUMBNAIL + 48, row * THUMBNAIL + 32))
            assert found == pytest.approx(colour, abs=6)
        assert sheet.getpixel((THUMBNAIL + 48, THUMBNAIL + 32)) == (255, 255, 255)


def test_a_contact_sheet_stays_small() -> None:
    noise = random.Random(0).randbytes(THUMBNAIL * THUMBNAIL * 3)
    image = encode(Image.frombytes("RGB", (THUMBNAIL, THUMBNAIL), noise), "PNG")
    assert len(contact_sheet([image] * SHEET_SIDE**2)) < SHEET_BYTES
    plain = contact_sheet([encode(Image.new("L", (50, 50)), "GIF")] * SHEET_SIDE**2)
    assert plain.startswith(b"\xff\xd8")
