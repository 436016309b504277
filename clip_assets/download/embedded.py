"""What an image file says of its own use, from its bytes as they were fetched.

Encoding anew drops it. Two places are read: the property ``DataMining`` of PLUS in XMP, which is
IPTC's, and the assertions on training and data mining of C2PA manifests (C2PA 1.4, CAWG 1.1).

Both are looked for in the bytes, whatever the format is and however broken its other parts are: XMP
is text that stands in one piece, and so is what a manifest asserts once the segments that JPEG and
GIF cut it into are joined. No XML is parsed, no signature checked and no address asked: whether who
says so may say so is not for a download to decide. Not read: manifests that are kept elsewhere.
"""

import contextlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import cbor2
import pyarrow as pa

from clip_assets.download.fetch.signals import Signals

PLACES = 20
"""Places of a kind in a file that are read, and entries of an assertion."""

XMP_BYTES = 2**20
"""Of XMP that a png holds compressed."""

MANIFEST_BYTES = 8 * 2**20
"""Of a manifest that a jpeg cuts into segments; twice as much may be held for a moment."""

SEGMENTS = 2**15
"""Of a jpeg or gif that are looked at; those of a gif have 255 bytes at most."""

ASSERTION_BYTES = 2**16
"""An assertion beyond this is not read; real ones have some hundred."""

WIDE_BYTES = 2**16
"""Of XMP in UTF-16 before and behind the vocabulary's address."""

NESTING = 8
"""Of an assertion; real ones have three levels."""

_PLUS = b"useplus.org/ldf/xmp/"

_DATA_MINING = re.compile(
    rb":DataMining\s{0,9}"
    rb"(?:=\s{0,9}[\"']|[^>]{0,200}?resource\s{0,9}=\s{0,9}[\"']|[^>]{0,200}>)"
    rb"\s{0,99}([^\"'<>]{1,200})"
)
# An attribute, an element with a reference, or one with a text.

_PROFILE = re.compile(rb"\nxmp\n {0,20}\d{1,20}\n([0-9a-f\n]*)")
# How ImageMagick keeps a profile in a png: its name, its size and its bytes in hex.

_TRAINING = re.compile(rb"jumd.{17}(?:c2pa|cawg)\.training-mining[\w.]{0,20}\0", re.DOTALL)
# The description of an assertion: kind of content, toggles, label.

_NOT_FREE = ("notAllowed", "constrained")
"""Uses that are reserved; CAWG takes ``constrained`` for ``notAllowed`` unless more is known."""


def read(body: bytes, signals: Signals) -> None:
    """Record what a file says of its use; a broken part of it says nothing.

    Args:
        body: the file.
        signals: takes ``data_mining`` and ``c2pa_training``.
    """
    if values := _data_mining(body):
        reserves = any("PROHIBITED" in value.upper() for value in values)
        signals.take("data_mining", ", ".join(values), reserves=reserves)
    if uses := _training(body):
        told = ", ".join(f"{name}={use}" for name, use in sorted(uses.items()))
        signals.take("c2pa_training", told, reserves=any(use in _NOT_FREE for use in uses.values()))


def _data_mining(body: bytes) -> list[str]:
    """Values of the property, without the vocabulary's address: ``DMI-PROHIBITED``."""
    values: dict[str, None] = {}
    for text in chain([body], _unpacked(body), _narrowed(body), _unbrotlied(body)):
        if _PLUS not in text:
            continue
        for place in _places(text, b":DataMining"):
            if told := _DATA_MINING.match(text, place):
                values[told[1].decode("utf-8", "replace").strip().rpartition("/")[2]] = None
    return [value for value in values if value]


def _narrowed(body: bytes) -> Iterator[bytes]:
    """XMP in UTF-16, as UTF-8: what is about the vocabulary's address."""
    for encoding in ("utf-16-le", "utf-16-be"):
        for place in _places(body, _PLUS.decode().encode(encoding)):
            # From an even distance, so that two bytes stay a letter.
            start = max(place % 2, place - WIDE_BYTES)
            yield body[start : place + WIDE_BYTES].decode(encoding, "replace").encode()


def _unbrotlied(content: bytes) -> Iterator[bytes]:
    """Contents of boxes that Brotli compresses: manifests of C2PA 2, XMP of JPEG XL and HEIF."""
    for place in _places(content, b"brob"):
        size = int.from_bytes(content[max(0, place - 4) : place], "big")
        packed = pa.py_buffer(content[place + 8 : place - 4 + size])
        with contextlib.suppress(pa.ArrowException, OSError):
            yield pa.input_stream(packed, compression="brotli").read(MANIFEST_BYTES)


def _unpacked(body: bytes) -> Iterator[bytes]:
    """XMP that a png holds compressed, or in hex as ImageMagick writes it."""
    if body[:8] != b"\x89PNG\r\n\x1a\n":
        return
    for place in _places(body, b"XML:com.adobe.xmp\0\x01\0"):
        language = body.find(b"\0", place + 20)
        yield _inflated(body, body.find(b"\0", language + 1) + 1)
    for place in _places(body, b"Raw profile type xmp\0"):
        start = place + 21
        packed = body[start : start + 1] == b"\0"
        text = _inflated(body, start + 1) if packed else body[start : start + XMP_BYTES]
        if digits := _PROFILE.match(text):
            with contextlib.suppress(ValueError):
                yield bytes.fromhex(digits[1].decode())


def _inflated(body: bytes, start: int) -> bytes:
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj().decompress(body[start : start + XMP_BYTES], XMP_BYTES)
    return b""


def _training(body: bytes) -> dict[str, str]:
    """Uses that a file's manifests speak of, those of its ingredients too; the strictest word."""
    uses: dict[str, str] = {}
    if b"jumd" not in body and b"brob" not in body:
        return uses
    whole = [body, *_joined(body)]
    for content in chain(whole, chain.from_iterable(map(_unbrotlied, whole))):
        for told in _assertions(content):
            entries = told.get("entries", told)
            for name, use in _entries(entries) if isinstance(entries, dict) else ():
                if uses.get(name) not in _NOT_FREE or use == "notAllowed":
                    uses[name] = use
    return uses


def _assertions(content: bytes) -> Iterator[dict[Any, Any]]:
    for description in islice(_TRAINING.finditer(content, 4), PLACES):
        size, kind = 0, b""
        place = description.start() - 4
        place += int.from_bytes(content[place : place + 4], "big")
        if place + 8 < len(content):
            size, kind = struct.unpack_from(">I4s", content, place)
        if 8 < size <= ASSERTION_BYTES:
            told = _decoded(kind, content[place + 8 : place + size])
            if isinstance(told, dict):
                yield told


def _decoded(kind: bytes, content: bytes) -> Any:
    try:
        return json.loads(content) if kind == b"json" else cbor2.loads(content, max_depth=NESTING)
    except Exception:  # what strangers' bytes make of the decoders
        return None


def _entries(entries: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, entry in islice(entries.items(), PLACES):
        match name, entry:
            case str(), {"use": str(use)} if name.startswith(("c2pa.", "cawg.")):
                yield name, use
            case _:
                pass


def _joined(body: bytes) -> Iterator[bytes]:
    """Manifests that a format cuts into segments, in one piece."""
    if body[:3] == b"\xff\xd8\xff":
        yield b"".join(_jpeg_segments(body))
    elif body[:4] == b"GIF8":
        for place in _places(body, b"!\xff\x0bC2PA_GIF"):
            yield b"".join(_gif_blocks(body, place + 14))


def _jpeg_segments(body: bytes) -> Iterator[bytes]:
    """Contents of the segments of a manifest: after the first they begin by its head again."""
    place, size = 2, 0
    for _ in range(SEGMENTS):
        if place + 4 > len(body) or body[place] != 0xFF or size > MANIFEST_BYTES:
            return
        marker, length = struct.unpack_from(">xBH", body, place)
        if marker == 0xEB and body[place + 4 : place + 6] == b"JP":
            is_first = body[place + 8 : place + 12] == b"\0\0\0\x01"
            segment = body[place + (12 if is_first else 20) : place + 2 + length]
            size += len(segment)
            yield segment
        elif marker == 0xDA:
            return
        # Fill bytes have no length.
        place += 1 if marker == 0xFF else 2 + length


def _gif_blocks(body: bytes, place: int) -> Iterator[bytes]:
    for _ in range(SEGMENTS):
        if place >= len(body) or not body[place]:
            return
        yield body[place + 1 : place + 1 + body[place]]
        place += 1 + body[place]


def _places(content: bytes, marker: bytes) -> Iterator[int]:
    """Where a marker stands, the first ``PLACES`` times."""
    place = -1
    for _ in range(PLACES):
        place = content.find(marker, place + 1)
        if place < 0:
            return
        yield place
