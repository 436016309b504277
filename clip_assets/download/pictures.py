"""Pictures of a partition's download for people."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image, ImageDraw

SHEET_SIDE = 8
"""Images in a row and in a column of the contact sheet."""

THUMBNAIL = 96
"""Side of an image on the contact sheet in pixels."""

SHEET_BYTES = 150_000
"""A contact sheet is smaller than this; its quality gives way."""


def first_images(tar: Path, count: int) -> list[bytes]:
    """The first ``count`` images of a tar, still encoded."""
    images: list[bytes] = []
    with tarfile.open(tar) as content:
        for member in content:
            if len(images) == count:
                break
            if not member.name.endswith((".json", ".txt")):
                file = content.extractfile(member)
                assert file is not None
                images.append(file.read())
    return images


def contact_sheet(images: Iterable[bytes]) -> bytes:
    """A grid of images as one JPEG."""
    side = SHEET_SIDE * THUMBNAIL
    sheet = Image.new("RGB", (side, side), "white")
    for position, content in enumerate(images):
        with Image.open(io.BytesIO(content)) as image:
            thumbnail = image.convert("RGB")
            thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        row, column = divmod(position, SHEET_SIDE)
        sheet.paste(thumbnail, (column * THUMBNAIL, row * THUMBNAIL))
    for quality in (80, 60, 40, 20):
        encoded = io.BytesIO()
        sheet.save(encoded, "JPEG", quality=quality)
        if encoded.tell() < SHEET_BYTES:
            break
    return encoded.getvalue()


def bars(counts: Mapping[str, int]) -> bytes:
    """Counts as horizontal bars, one line each, as a PNG."""
    line, label, width = 22, 170, 640
    chart = Image.new("RGB", (width, line * len(counts) + 8), "white")
    draw = ImageDraw.Draw(chart)
    total = max(1, sum(counts.values()))
    scale = (width - label - 110) / max(1, *counts.values())
    for number, (name, count) in enumerate(counts.items()):
        top = number * line + 8
        draw.text((8, top), name[:26], "black")
        end = label + count * scale
        draw.rectangle((label, top, end, top + line - 8), "#4c78a8" if number == 0 else "#e45756")
        draw.text((end + 6, top), f"{count:,} ({count / total:.1%})", "black")
    encoded = io.BytesIO()
    chart.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()
