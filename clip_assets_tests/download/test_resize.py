"""Files that were fetched become images of the wanted size, or a told refusal."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_assets.download.resize import ImageResizer
from clip_assets.errors import ConfigurationError
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.pairs import encode, png_with

PAIR = {"sha256": None, "md5": None, "face_bboxes": None}


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_the_longer_side_follows_the_shorter() -> None:
    found = ImageResizer(DownloadSettings(image_size=100))(encode(size=(400, 200)), PAIR)

    made = found.scaled
    assert (made.width, made.height, made.original_width, made.original_height) == (
        200,
        100,
        400,
        200,
    )
    assert Image.open(io.BytesIO(made.image)).size == (200, 100)
    assert found.hashes["sha256"] == hashlib.sha256(encode(size=(400, 200))).hexdigest()


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("center_crop", (100, 100)),
        ("border", (100, 100)),
        ("keep_ratio_largest", (100, 50)),
        ("no", (400, 200)),
    ],
)
def test_modes_are_those_of_img2dataset(mode: str, size: tuple[int, int]) -> None:
    made = ImageResizer(DownloadSettings(image_size=100, resize_mode=mode))(
        encode(size=(400, 200)), PAIR
    )

    assert (made.scaled.width, made.scaled.height) == size


@pytest.mark.parametrize(
    ("body", "error_class", "message"),
    [
        (b"", "not_an_image", "Image decoding error"),
        (b"<html></html>", "not_an_image", "Image decoding error"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image", "Image decoding error"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not_an_image", "Image decoding error"),
    ],
    ids=["empty", "html", "svg", "jpeg head"],
)
def test_files_that_are_no_images_are_told_apart(
    body: bytes, error_class: str, message: str
) -> None:
    made = ImageResizer(DownloadSettings())(body, PAIR)

    assert (made.scaled, made.error_class, made.error_message) == (None, error_class, message)


@pytest.mark.parametrize("form", ["JPEG2000", "DDS", "TGA", "ICO", "EPS"])
def test_formats_of_no_use_to_the_decoder_never_reach_it(form: str) -> None:
    assert ImageResizer(DownloadSettings())(encode(form), PAIR).error_class == "not_an_image"


def test_a_header_that_its_reader_does_not_expect_is_no_image() -> None:
    # Pillow raises NotImplementedError for these flags.
    body = bytearray(encode("DDS"))
    body[80:84] = bytes(4)

    assert ImageResizer(DownloadSettings())(bytes(body), PAIR).error_class == "not_an_image"


def test_moving_images_are_not_decoded() -> None:
    assert ImageResizer(DownloadSettings())(encode("GIF"), PAIR).error_class == "decode"


@pytest.mark.parametrize(
    ("form", "error_class"), [("JPEG", "decode"), ("PNG", "decode"), ("WEBP", "decode")]
)
def test_truncated_files_are_not_decoded(form: str, error_class: str) -> None:
    body = encode(form, (600, 500))

    assert ImageResizer(DownloadSettings())(body[: len(body) // 2], PAIR).error_class == error_class


def test_a_9000_by_9000_png_is_an_image_and_its_limit_is_a_setting() -> None:
    bomb = io.BytesIO()
    Image.new("L", (9000, 9000)).save(bomb, "PNG")

    made = ImageResizer(DownloadSettings())(bomb.getvalue(), PAIR)
    limited = ImageResizer(DownloadSettings(max_pixels=10_000_000))(bomb.getvalue(), PAIR)

    assert (made.scaled.width, made.scaled.original_width) == (256, 9000)
    assert limited.error_class == "too_many_pixels"


@pytest.mark.parametrize("side", [9600, 15_000, 60_000, 2**31 - 1])
def test_larger_bombs_are_refused_by_their_header(side: int) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(1000))

    assert ImageResizer(DownloadSettings())(bomb, PAIR).error_class == "too_many_pixels"


@pytest.mark.parametrize(
    ("form", "options", "error_class"),
    [
        ("JPEG", {}, None),
        ("JPEG", {"progressive": True}, "too_many_pixels"),
        ("PNG", {}, None),
        ("PNG", {"mode": "RGBA"}, "too_many_pixels"),
        ("TIFF", {}, "too_many_pixels"),
        ("WEBP", {}, "too_many_pixels"),
    ],
)
def test_what_takes_more_memory_than_there_is_for_all_is_refused(
    form: str, options: dict[str, Any], error_class: str | None
) -> None:
    """5.8 million pixels of 6, 9, 8 or 12 bytes, and 40 MiB for all of them."""
    body = encode(form, (2400, 2400), **options)
    small = DownloadSettings(max_bytes=2**22, max_memory_bytes=64 * 2**20)

    assert ImageResizer(small)(body, PAIR).error_class == error_class
    assert ImageResizer(DownloadSettings())(body, PAIR).scaled


def test_small_and_narrow_images_can_be_refused() -> None:
    picky = ImageResizer(DownloadSettings(min_image_size=50, max_aspect_ratio=2))

    assert picky(encode(size=(49, 49)), PAIR).error_class == "too_small"
    assert picky(encode(size=(300, 100)), PAIR).error_class == "aspect_ratio"
    assert picky(encode(size=(200, 100)), PAIR).scaled


def test_a_file_that_is_not_resized_can_keep_its_bytes() -> None:
    body = encode(size=(100, 80))

    assert ImageResizer(DownloadSettings(skip_reencode=True))(body, PAIR).scaled.image == body
    assert ImageResizer(DownloadSettings())(body, PAIR).scaled.image != body


def test_exif_is_written_unless_not_wanted() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    body = encode(exif=exif)

    assert '"Image Make": "Maker"' in ImageResizer(DownloadSettings())(body, PAIR).exif
    assert ImageResizer(DownloadSettings(extract_exif=False))(body, PAIR).exif is None


def jpeg_with(marker: int, segment: bytes) -> bytes:
    """A picture with a segment of its own before all others."""
    body = encode()
    return body[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(segment)) + segment + body[2:]


def tags_that_point(count: int, kind: int, length: int, place: int) -> bytes:
    """Entries of EXIF or TIFF that all have the same value, or lead to the same tags."""
    tags = [0x8825 if kind == LONG else 0x9000 + number for number in range(count)]
    return b"".join(struct.pack("<HHII", tag, kind, length, place) for tag in tags)


ASCII, LONG = 2, 4


@pytest.mark.parametrize(
    ("count", "entries"),
    [
        (5000, tags_that_point(5000, LONG, 1, 8)),
        (4000, tags_that_point(4000, ASCII, 17_000, 48_014) + bytes(4) + b"a" * 17_000),
        (5000, tags_that_point(5000, ASCII, 30, 8)),
    ],
    ids=["tags of tags", "long values", "many tags"],
)
def test_exif_that_fans_out_is_left_out_and_costs_no_image(count: int, entries: bytes) -> None:
    segment = b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + entries
    resize = ImageResizer(DownloadSettings())
    tracemalloc.start()
    try:
        found = resize(jpeg_with(0xE1, segment), PAIR)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (found.error_class, found.exif) == (None, None)
    assert found.scaled.image == resize(encode(), PAIR).scaled.image
    assert peak < 32 * 2**20


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("is_big", [False, True])
def test_tags_that_share_one_value_cost_no_tiff(is_big: bool) -> None:
    number, count, entry = ("<Q", "<Q", "<HHQQ") if is_big else ("<I", "<H", "<HHII")
    body = encode("TIFF", size=(800, 600), big_tiff=is_big)
    head = 16 if is_big else 8
    (place,) = struct.unpack_from(number, body, head - struct.calcsize(number))
    (own,) = struct.unpack_from(count, body, place)
    first = place + struct.calcsize(count)
    tags = body[first : first + own * struct.calcsize(entry)]
    for tag in range(10):
        tags += struct.pack(entry, 0x9000 + tag, ASCII, len(body) // 4, 0)
    start = body[: head - struct.calcsize(number)] + struct.pack(number, len(body))
    fan = start + body[head:] + struct.pack(count, own + 10) + tags + bytes(8)
    resize = ImageResizer(DownloadSettings())

    assert resize(fan, PAIR).scaled.image == resize(body, PAIR).scaled.image


@pytest.mark.parametrize(
    ("marker", "segment"),
    [(0xE0, b"JFIF"), (0xE1, b"Exif\0\0"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe")],
)
def test_segments_that_are_broken_cost_no_jpeg(marker: int, segment: bytes) -> None:
    resize = ImageResizer(DownloadSettings())

    assert (
        resize(jpeg_with(marker, segment), PAIR).scaled.image == resize(encode(), PAIR).scaled.image
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", b"k\0\0" + zlib.compress(b"a" * 3_000_000)),
        (b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000)),
        (b"iCCP", b"k\0\0" + zlib.compress(b"a" * 3_000_000)),
        (b"iCCP", b""),
        (b"gAMA", b""),
        (b"pHYs", b""),
        (b"sRGB", b""),
    ],
)
def test_chunks_that_are_broken_or_large_cost_no_png(name: bytes, content: bytes) -> None:
    body = encode("PNG")
    found = ImageResizer(DownloadSettings())(png_with(body, (name, content)), PAIR)

    assert found.scaled.image == ImageResizer(DownloadSettings())(body, PAIR).scaled.image


def webp_with(name: bytes, content: bytes) -> bytes:
    """A WebP with a profile and EXIF, of which one is another; EXIF is behind the pixels."""
    body = encode("WEBP", icc_profile=b"profile.", exif=b"Exif\0\0..")
    place = body.index(name)
    (size,) = struct.unpack_from("<I", body, place + 4)
    return body[: place + 8] + content[:size].ljust(size) + body[place + 8 + size :]


@pytest.mark.parametrize(
    ("body", "sound"),
    [
        (webp_with(b"ICCP", b"\xff"), encode("WEBP")),
        (webp_with(b"EXIF", b"\xff"), encode("WEBP")),
        (encode("WEBP", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), encode("WEBP")),
        (encode("TIFF", tiffinfo={34675: b"\xff" * 9, 700: b"<x", 33723: b"?"}), encode("TIFF")),
        (encode("JPEG") + b"\xff\xda" * 100_000, encode("JPEG")),
    ],
    ids=["profile", "exif", "exif that leads nowhere", "tags", "what follows the end"],
)
def test_side_data_that_are_broken_cost_no_image(body: bytes, sound: bytes) -> None:
    resize = ImageResizer(DownloadSettings())

    assert resize(body, PAIR).scaled.image == resize(sound, PAIR).scaled.image


def test_a_jpeg_of_scans_without_end_is_not_decoded() -> None:
    body = encode("JPEG", (4000, 4000), progressive=True)
    last = body.rindex(b"\xff\xda")
    # An end of a block stands for all that follow, so that each scan of all pixels takes ten bytes.
    many = body[:last] + body[last:-2][:14] * 10_000 + body[-2:]

    assert ImageResizer(DownloadSettings())(body, PAIR).scaled
    assert ImageResizer(DownloadSettings())(many, PAIR).error_class == "not_an_image"


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_what_would_be_scaled_to_more_than_there_is_room_for_is_refused(
    size: tuple[int, int],
) -> None:
    settings = DownloadSettings(resize_only_if_bigger=False, image_size=4096)

    assert ImageResizer(settings)(encode("PNG", size), PAIR).error_class == "too_many_pixels"


def test_fill_bytes_before_a_segment_cost_no_jpeg() -> None:
    body = jpeg_with(0xE0, b"JFIF")

    assert ImageResizer(DownloadSettings())(body[:2] + b"\xff\xff" + body[2:], PAIR).scaled


def test_hashes_of_the_source_are_compared() -> None:
    body = encode()
    sha256 = PAIR | {"sha256": hashlib.sha256(body).hexdigest().upper()}
    md5 = PAIR | {"md5": hashlib.md5(body).hexdigest()}
    other = PAIR | {"sha256": "0" * 64}
    resize = ImageResizer(DownloadSettings())

    assert [resize(body, pair).hash_matches for pair in (PAIR, sha256, md5, other)] == [
        None,
        True,
        True,
        False,
    ]
    assert resize(body, other).scaled
    assert (
        ImageResizer(DownloadSettings(verify_hash="fail"))(body, other).error_class
        == "hash_mismatch"
    )


def test_faces_are_blurred_where_they_are_and_nowhere_else() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    body = io.BytesIO()
    Image.fromarray(noise).save(body, "PNG")
    settings = DownloadSettings(blur_faces=True, encode_format="png", encode_quality=1)
    made = ImageResizer(settings)(body.getvalue(), PAIR | {"face_bboxes": [[0.5, 0.5, 0.8, 0.8]]})

    found = decoded(made.scaled.image)
    assert found[110:150, 110:150].std() < noise[110:150, 110:150].std() / 2
    assert (found[:80, :80] == noise[:80, :80]).all()
    unblurred = ImageResizer(settings)(body.getvalue(), PAIR | {"face_bboxes": []})
    assert (decoded(unblurred.scaled.image) == noise).all()


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="encode_quality"):
        ImageResizer(DownloadSettings(encode_format="png", encode_quality=95))


def test_threads_get_the_same_images_and_leave_the_process_its_output() -> None:
    resize = ImageResizer(DownloadSettings())
    bodies = [encode(size=(300 + i, 260)) for i in range(20)]
    alone = [resize(body, PAIR).scaled.image for body in bodies]
    descriptors = [os.fstat(1), os.fstat(2)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda body: resize(body, PAIR).scaled.image, bodies * 5))

    assert together == alone * 5
    assert [os.fstat(1), os.fstat(2)] == descriptors


@pytest.mark.parametrize("name", ["md5", "sha256", "sha512"])
def test_files_are_hashed_as_asked(name: str) -> None:
    found = ImageResizer(DownloadSettings(compute_hash=name))(encode(), PAIR)

    assert found.hashes[name] == getattr(hashlib, name)(encode()).hexdigest()
    assert found.hashes["sha256"] == hashlib.sha256(encode()).hexdigest()


def test_the_strongest_hash_of_the_source_counts() -> None:
    right = {name: hashlib.new(name, encode()).hexdigest() for name in ("md5", "sha256", "sha512")}
    resize = ImageResizer(DownloadSettings(compute_hash="none"))

    for name in right:
        assert resize(encode(), PAIR | {name: right[name]}).hash_matches
        assert not resize(encode(), PAIR | {name: right[name][::-1]}).hash_matches
    assert not resize(encode(), PAIR | right | {"sha512": "0" * 128}).hash_matches


@pytest.mark.parametrize("boxes", [[[0.1]], [["a", 0, 1, 1]], [[float("nan"), 0, 1, 1]]])
def test_boxes_that_are_none_are_a_fault_of_the_row(boxes: list[Any]) -> None:
    found = ImageResizer(DownloadSettings(blur_faces=True))(encode(), PAIR | {"face_bboxes": boxes})

    assert (found.scaled, found.error_class) == (None, "decode")


def test_a_file_with_faces_never_keeps_its_bytes() -> None:
    resize = ImageResizer(DownloadSettings(blur_faces=True, skip_reencode=True))
    body = encode(size=(100, 80))

    assert resize(body, PAIR | {"face_bboxes": []}).scaled.image == body
    assert resize(body, PAIR | {"face_bboxes": [[0, 0, 0.5, 0.5]]}).scaled.image != body


def test_loading_takes_neither_cv2_nor_img2dataset() -> None:
    code = (
        "import sys; from clip_assets.download.resize import ImageResizer;"
        "assert 'cv2' not in sys.modules;"
        "from clip_assets.settings import DownloadSettings; ImageResizer(DownloadSettings());"
        "assert not {'torch', 'wandb', 'albumentations', 'img2dataset'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
