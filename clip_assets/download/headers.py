"""What a stranger's file says of its pixels, and what of the file a decoder shall see.

Sides and cost are read here and not by a library, as those read side data with them: profiles,
texts and tags that are broken, or that unpack to gigabytes. What could cost a decoder memory or
time beside its pixels does not reach it: of a PNG the chunks that are no pixels, of a TIFF the tags
that are none. A JPEG's segments are small, and its decoder passes them over.
"""

import io
import re
import struct
from dataclasses import dataclass

from PIL import Image

from clip_assets.files.images import FORMATS

DECODED = (*FORMATS, "DIB", "SUN")
"""What may go on to the decoder. JPEG 2000 may not: broken files of it crash the whole process."""

SCANNED_PIXELS = 10**10
"""Pixels times scans of a JPEG: seconds. Every scan goes over all pixels, and an empty one takes
ten bytes; cameras and tools for the web write up to a dozen."""

CHUNKS = 2**18
"""Chunks of a PNG that are looked at; one with more is none."""

MARKERS = 2**16
"""Markers of a JPEG that are looked at; one with more is none."""

COPIES = 2
"""Of the decoded pixels while a file is decoded: cv2 copies them once more."""

_PIXEL_CHUNKS = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT", b"bKGD"})
# Beside those without which a PNG is none, whose names begin with a capital.

_PIXEL_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284}
    | {290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 332, 334}
    | {338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532}
)
# Of TIFF 6.0 and its supplements: what the pixels of an image are read by.

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers of a jpeg behind which its sides stand.

_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

_ALONE = frozenset({0x01, 0xD8})
# Markers without a size, beside those that stand between parts of a scan.

_SCAN, _END = 0xDA, 0xD9

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
# Neither a byte of a scan nor a mark within it.

_TYPE_BYTES = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)))
# Of one value of a tag, by the number of its type in a TIFF.


class NoImageError(Exception):
    """A file that is no image, or none that shall be decoded."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before it is decoded.

    Args:
        body: the file as a decoder shall see it.
        width: in pixels.
        height: in pixels.
        pixel_bytes: of one decoded pixel, at most.
        decoder_bytes: of memory that decoding takes for each pixel, the decoded one included.
    """

    body: bytes
    width: int
    height: int
    pixel_bytes: int
    decoder_bytes: int

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return self.width * self.height


def read(body: bytes) -> Header:
    """The header of a file.

    Raises:
        NoImageError: it has none.
        Exception: whatever strangers' files make of Pillow's readers of headers.
    """
    if body[:8] == b"\x89PNG\r\n\x1a\n" and body[12:16] == b"IHDR" and len(body) >= 26:
        return _png(body)
    if body[:3] == b"\xff\xd8\xff":
        return _jpeg(body)
    if body[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(body)
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return _webp(body)
    with Image.open(io.BytesIO(body), formats=DECODED) as image:
        # The widest of these: four bytes, or three of two.
        return Header(body, image.width, image.height, 6, 6 * COPIES)


def _png(body: bytes) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", body, 16)
    kept = _pixel_chunks(body)
    has_alpha = colour in (4, 6) or kept.find(b"tRNS", 0, kept.find(b"IDAT")) >= 0
    channels = 4 if has_alpha else 1 if colour == 0 else 3
    pixel_bytes = channels * (2 if depth == 16 else 1)
    # Pictures that move are put together in two further ones.
    frames = 2 * 4 if b"acTL" in kept[:100] else 0
    return Header(kept, width, height, pixel_bytes, pixel_bytes * COPIES + frames)


def _pixel_chunks(body: bytes) -> bytes:
    """A PNG without the chunks that are no pixels; from what is no chunk on it is left as it is."""
    kept = [body[:8]]
    place = start = 8
    for _ in range(CHUNKS):
        if place + 12 > len(body):
            break
        size, name = struct.unpack_from(">I4s", body, place)
        end = place + 12 + size
        if end > len(body) or not name.isalpha():
            break
        if not (name[:1].isupper() or name in _PIXEL_CHUNKS):
            kept.append(body[start:place])
            start = end
        place = end
        if name == b"IEND":
            break
    else:
        raise NoImageError
    if start == 8:
        return body
    return b"".join([*kept, body[start:]])


def _jpeg(body: bytes) -> Header:
    """Of a JPEG's first image; pictures and films behind it do not matter."""
    frame: tuple[int, int, int] | None = None
    kind = scans = 0
    place = 2
    for _ in range(MARKERS):
        match = _MARKER.search(body, place)
        if match is None or (marker := match[1][0]) == _END:
            break
        place = match.end()
        if marker in _FRAMES and frame is None and place + 8 <= len(body):
            kind, frame = marker, struct.unpack_from(">HHB", body, place + 3)
        scans += marker == _SCAN
        if marker not in _ALONE:
            place += int.from_bytes(body[place : place + 2], "big")
    else:
        raise NoImageError
    if frame is None:
        raise NoImageError
    height, width, components = frame
    if width * height * scans > SCANNED_PIXELS:
        raise NoImageError
    pixel_bytes = 1 if components == 1 else 3
    # Of several scans all coefficients are kept, two bytes each.
    is_kept = scans > 1 or kind in _PROGRESSIVE
    coefficients = 2 * components if is_kept else 0
    cost = max(pixel_bytes * COPIES, pixel_bytes + coefficients)
    return Header(body, width, height, pixel_bytes, cost)


def _webp(body: bytes) -> Header:
    # Four bytes, and the planes that they are made from; one that moves takes a second picture.
    for name, pattern in _WEBP.items():
        if match := pattern.match(body, 12):
            numbers = [int.from_bytes(group, "little") for group in match.groups()]
            match name:
                case "extended":
                    width, height = (number + 1 for number in numbers)
                case "lossless":
                    width, height = (numbers[0] & 0x3FFF) + 1, (numbers[0] >> 14 & 0x3FFF) + 1
                case _:
                    width, height = (number & 0x3FFF for number in numbers)
            return Header(body, width, height, 4, 4 * COPIES + 4)
    raise NoImageError


_WEBP = {
    "extended": re.compile(rb"VP8X.{8}(.{3})(.{3})", re.DOTALL),
    "lossless": re.compile(rb"VP8L.{4}\x2f(.{4})", re.DOTALL),
    "lossy": re.compile(rb"VP8 .{7}\x9d\x01\x2a(..)(..)", re.DOTALL),
}


def _tiff(body: bytes) -> Header:
    """Of a TIFF's first image, with those tags alone that pixels are read by."""
    order = "<" if body[:1] == b"I" else ">"
    is_big = struct.unpack_from(f"{order}H", body, 2) == (43,)
    pointer = struct.Struct(f"{order}Q" if is_big else f"{order}I")
    number = struct.Struct(f"{order}Q" if is_big else f"{order}H")
    entry = struct.Struct(f"{order}HHQ8s" if is_big else f"{order}HHI4s")
    (place,) = pointer.unpack_from(body, 8 if is_big else 4)
    if place + number.size > len(body):
        raise NoImageError
    (count,) = number.unpack_from(body, place)
    start = place + number.size
    entries = body[start : start + count * entry.size]
    whole = entries[: len(entries) - len(entries) % entry.size]
    tags = [tag for tag in entry.iter_unpack(whole) if tag[0] in _PIXEL_TAGS]
    if sum(_TYPE_BYTES.get(kind, 0) * values for _, kind, values, _ in tags) > len(body):
        raise NoImageError  # many tags for the same bytes, of which a reader makes many copies

    def told(wanted: int, otherwise: int) -> int:
        for tag, kind, values, content in tags:
            if tag == wanted:
                is_here = values * _TYPE_BYTES.get(kind, 0) <= pointer.size
                place = 0 if is_here else pointer.unpack(content)[0]
                return _value(order, kind, content if is_here else body[place : place + 8])
        return otherwise

    if len(tags) * entry.size < len(whole):
        kept = number.pack(len(tags)) + b"".join(entry.pack(*tag) for tag in tags)
        table = kept + bytes(pointer.size)
        body = body[:place] + table + body[place + len(table) :]
    width, height = told(256, 0), told(257, 0)
    # Strips and tiles are unpacked beside the picture, and some are read as four bytes.
    pixel_bytes = max(told(277, 1), 4) * max(1, told(258, 1) // 8)
    return Header(body, width, height, pixel_bytes, pixel_bytes * (COPIES + 1))


def _value(order: str, kind: int, content: bytes) -> int:
    """The first value of a tag that holds whole numbers."""
    form = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
    if form is None:
        raise NoImageError
    return int(struct.unpack_from(order + form, content)[0])
