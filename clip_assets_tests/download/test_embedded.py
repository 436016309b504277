"""What image files say of their own use is read from their bytes, however broken they are."""

import json
import random
import struct
import time
import tracemalloc
from typing import Any

import cbor2
import pyarrow as pa
import pytest

from clip_assets.download import embedded
from clip_assets.download.fetch.signals import Signals
from clip_assets_tests.download.credentials import (
    ATTRIBUTE,
    PROHIBITED,
    REFERENCE,
    TEXT,
    png_with,
    signed,
    training,
    with_xmp,
    xmp,
)
from clip_assets_tests.download.pairs import encode

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
KEPT = "cawg.ai_training=notAllowed, cawg.data_mining=allowed"


def read(body: bytes) -> tuple[dict[str, str], set[str]]:
    """What a file says, and what of it reserves."""
    signals = Signals()
    embedded.read(body, signals)
    return signals.said, signals.opt_outs


@pytest.mark.parametrize(
    "form",
    [
        "JPEG",
        "PNG",
        "WEBP",
        "TIFF",
        "GIF",
        "AVIF",
        "packed png",
        "profile png",
        "plain profile png",
    ],
)
@pytest.mark.parametrize(
    "written", [ATTRIBUTE, TEXT, REFERENCE], ids=["attribute", "text", "reference"]
)
def test_data_mining_is_read_from_xmp(form: str, written: str) -> None:
    body = with_xmp(form, xmp(written))
    assert read(body) == ({"data_mining": "DMI-PROHIBITED-AIMLTRAINING"}, {"data_mining"})


@pytest.mark.parametrize("value", ["DMI-ALLOWED", "DMI-UNSPECIFIED"])
def test_data_mining_that_is_allowed_is_recorded_and_reserves_nothing(value: str) -> None:
    packet = xmp(ATTRIBUTE.replace("DMI-PROHIBITED-AIMLTRAINING", value))
    assert read(with_xmp("JPEG", packet)) == ({"data_mining": value}, set())


@pytest.mark.parametrize("form", MEDIA_TYPES)
@pytest.mark.parametrize("prefix", ["cawg", "c2pa"])
def test_training_is_read_from_manifests(form: str, prefix: str) -> None:
    assertion = training(prefix, data_mining="allowed", ai_training="notAllowed")
    body = signed(encode(form), MEDIA_TYPES[form], assertion)
    said = {"c2pa_training": KEPT.replace("cawg", prefix)}
    assert read(body) == (said, {"c2pa_training"})


def test_a_manifest_that_segments_of_a_jpeg_cut_anywhere_is_read_whole() -> None:
    whole = signed(encode(), "image/jpeg", training(ai_training="notAllowed"))
    place = whole.rindex(b"jumd", 0, whole.index(b"cawg.training-mining\0"))
    for cut in range(place - 8, place + 120):
        assert read(cut_in_two(whole, cut))[1] == {"c2pa_training"}, cut - place


def cut_in_two(body: bytes, cut: int) -> bytes:
    """A jpeg whose segment around a place is two, the second one with the head of the first."""
    place = 2
    while place + 2 + int.from_bytes(body[place + 2 : place + 4], "big") < cut:
        place += 2 + int.from_bytes(body[place + 2 : place + 4], "big")
    marker, head = body[place : place + 2], body[place + 12 : place + 20]
    end = place + 2 + int.from_bytes(body[place + 2 : place + 4], "big")
    first, second = body[place + 4 : cut], body[place + 4 : place + 8] + b"\0\0\0\x02" + head
    cut_off = [first, second + body[cut:end]]
    pieces = [marker + struct.pack(">H", len(piece) + 2) + piece for piece in cut_off]
    return body[:place] + b"".join(pieces) + body[end:]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("odd", [b"", b"x"])
def test_xmp_in_another_encoding_is_read(encoding: str, odd: bytes) -> None:
    body = encode() + odd + xmp().decode().encode(encoding)
    assert read(body) == ({"data_mining": "DMI-PROHIBITED-AIMLTRAINING"}, {"data_mining"})


@pytest.mark.parametrize("place", ["behind the image", "in a box", "in a jpeg's segments"])
def test_a_manifest_that_is_compressed_or_elsewhere_in_the_file_is_read(place: str) -> None:
    """C2PA 2 lets a store be a box of Brotli; some writers put theirs behind the image."""
    plain = signed(encode("PNG"), "image/png", training(ai_training="notAllowed"))
    start = plain.index(b"caBX") + 4
    manifest = plain[start : start + int.from_bytes(plain[start - 8 : start - 4], "big")]
    packed = b"jumb" + pa.compress(manifest, codec="brotli", asbytes=True)
    box = struct.pack(">I", len(packed) + 8) + b"brob" + packed
    if place == "behind the image":
        body = encode() + manifest
    elif place == "in a box":
        body = encode("AVIF") + box
    else:
        segment = struct.pack(">HH", 0xFFEB, len(box) + 10) + b"JP\0\x01\0\0\0\x01" + box
        body = cut_in_two(encode()[:2] + segment + encode()[2:], 500)
    said = {"c2pa_training": "cawg.ai_training=notAllowed"}
    assert read(body) == (said, {"c2pa_training"})


def test_the_strictest_word_counts_where_several_are_said() -> None:
    assertions = [
        training(ai_training=use, data_mining="constrained") for use in ("notAllowed", "allowed")
    ]
    body = signed(encode(), "image/jpeg", *assertions)
    assert (
        read(body)[0]["c2pa_training"]
        == "cawg.ai_training=notAllowed, cawg.data_mining=constrained"
    )


def test_what_is_allowed_is_recorded_and_reserves_nothing() -> None:
    body = signed(encode(), "image/jpeg", training(ai_training="allowed"))
    assert read(body) == ({"c2pa_training": "cawg.ai_training=allowed"}, set())


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_files_that_say_nothing_leave_no_record(form: str) -> None:
    assert read(encode(form)) == ({}, set())
    assert read(signed(encode(form), MEDIA_TYPES[form])) == ({}, set())


def test_a_manifest_speaks_for_an_image_that_was_changed_since() -> None:
    body = bytearray(signed(encode("WEBP"), "image/webp", training(ai_training="notAllowed")))
    body[100] ^= 0xFF
    assert read(bytes(body))[1] == {"c2pa_training"}


def assertion(content: bytes, kind: bytes = b"cbor", size: int | None = None) -> bytes:
    """An assertion in its boxes; their size may be untrue."""
    label = b"cawg.training-mining\0"
    description = b"jumd" + bytes(16) + b"\x03" + label
    box = struct.pack(">I", len(content) + 8 if size is None else size) + kind + content
    return struct.pack(">I", len(description) + 4) + description + box


ENTRIES: dict[str, Any] = {"cawg.ai_training": {"use": "notAllowed"}}


def test_assertions_as_json_and_of_an_older_form_are_read() -> None:
    for content, kind in [
        (cbor2.dumps({"entries": ENTRIES}), b"cbor"),
        (cbor2.dumps(ENTRIES), b"cbor"),
        (json.dumps({"entries": ENTRIES}).encode(), b"json"),
    ]:
        assert read(b"??" + assertion(content, kind))[1] == {"c2pa_training"}


HOSTILE = {
    "deep cbor": assertion(b"\x81" * 60_000),
    "deep json": assertion(b"[" * 60_000, b"json"),
    "long array": assertion(b"\x9b" + b"\x7f" * 8),
    "long text": assertion(b"\x7b" + b"\x7f" * 8),
    "bignum": assertion(b"\xc5\x82\x1b" + b"\x0f" * 8 + b"\x01"),
    "regular expression": assertion(b"\xd8\x23\x78\x20" + b"(a+)+" * 6 + b"$$"),
    "itself": assertion(b"\xd8\x1c\xa1\x67entries\xd8\x1d\x00"),
    "no map": assertion(cbor2.dumps([ENTRIES])),
    "no entries": assertion(cbor2.dumps({"entries": 7})),
    "no use": assertion(
        cbor2.dumps({"entries": {"cawg.ai_training": 7, 8: {}, "c2pa.": {"use": 9}}})
    ),
    "size of nothing": assertion(b"", size=0),
    "size beyond the end": assertion(cbor2.dumps(ENTRIES), size=2**32 - 1),
    "cut": assertion(b"")[:-6],
    "label alone": b"jumd" + bytes(17) + b"cawg.training-mining\0",
    "jpeg of one segment": b"\xff\xd8\xff\xeb\xff\xffJP" + b"jumd" * 4,
    "jpeg of no segments": b"\xff\xd8\xff\xeb\0\0" * 100_000 + b"jumd",
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 2**25 + b"jumd",
    "gif of small blocks": b"GIF89a" + b"!\xff\x0bC2PA_GIF123" * 20 + b"\x01x" * 2**24 + b"jumd",
    "gif without an end": b"GIF89a!\xff\x0bC2PA_GIF123\xff" + b"jumd" * 64,
    "xmp without an end": xmp()[:220] + b' plus:DataMining="',
    "xmp of blanks": xmp(" ") + b":DataMining" + b" " * 10**6 + b"=",
    "many properties": b"useplus.org/ldf/xmp/" + b":DataMining " * 10**6,
    "many assertions": b"jumd" + assertion(b"\xa0") * 10**5,
    "many descriptions": b"jumd" * 10**6,
    "png bomb": png_with(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + b"\x78\x9c" + b"\xff" * 99),
    "many packed": b"\x89PNG\r\n\x1a\n" + b"XML:com.adobe.xmp\0\x01\0" * 10**6,
    "profile that is no hex": png_with(b"tEXt", b"Raw profile type xmp\0\nxmp\n 9\nzz"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_say_nothing_in_little_time(name: str) -> None:
    start = time.process_time()
    assert read(HOSTILE[name])[1] == set()
    assert time.process_time() - start < 10, "seconds of CPU; tenths are expected"


def test_compressed_xmp_is_read_up_to_a_bound() -> None:
    body = with_xmp("packed png", xmp() + b" " * (300 * 2**20))
    tracemalloc.start()
    try:
        assert read(body)[1] == {"data_mining"}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_damage_anywhere_raises_nothing() -> None:
    whole = signed(with_xmp("JPEG", xmp()), "image/jpeg", training(ai_training="notAllowed"))
    place = whole.index(b"cawg.training-mining\0")
    around = whole[:2000] + whole[max(2000, place - 400) : place + 400]
    chance = random.Random(0)
    for _ in range(3000):
        damaged = bytearray(around)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.choice(
                [0, 1, 0xFF, chance.randrange(256)]
            )
        read(bytes(damaged))


def test_a_value_of_a_stranger_is_one_printable_line() -> None:
    packet = xmp(ATTRIBUTE.replace(PROHIBITED, "PROHIBITED \x1b[31m\n" + "x" * 5000))
    said, opt_outs = read(b"x" + packet)
    assert said["data_mining"].startswith("PROHIBITED [31m xxx")
    assert len(said["data_mining"]) <= 500
    assert opt_outs == {"data_mining"}
