"""img2dataset's own resizer, loaded from its file, says what every image must become."""

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from clip_assets.download.scaling import RefusedError, Scaler, perceptual_hash
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.pairs import encode

MODES = ["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"]


@pytest.fixture(scope="session")
def resizer() -> Any:
    """The module of img2dataset, without its package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        package = Path(importlib.util.find_spec("img2dataset").origin)
        spec = importlib.util.spec_from_file_location("peer", package.with_name("resizer.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    # It would point the output of the tests' process elsewhere.
    module.SuppressStdoutStderr = contextlib.nullcontext
    return module


def both(resizer: Any, body: bytes, **options: Any) -> tuple[Any, Any]:
    """What the peer and we make of a file: image and sides, or the message of the refusal."""
    settings = DownloadSettings(**options)
    names = (
        "image_size", "resize_mode", "resize_only_if_bigger", "encode_quality", "encode_format",
        "skip_reencode", "min_image_size",
    )  # fmt: skip
    peer = resizer.Resizer(
        **{name: getattr(settings, name) for name in names},
        max_aspect_ratio=settings.max_aspect_ratio or float("inf"),
    )
    *made, error = peer(io.BytesIO(body))
    try:
        ours = Scaler(settings, None)(body, None)
    except RefusedError as refusal:
        return error, refusal.message
    return made, [
        ours.image, ours.width, ours.height, ours.original_width, ours.original_height
    ]  # fmt: skip


@given(
    size=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    image_size=st.integers(1, 130),
    mode=st.sampled_from(MODES),
    only_if_bigger=st.booleans(),
    form=st.sampled_from(["jpg", "png", "webp"]),
    color=st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "I;16"]),
)
def test_every_size_becomes_what_img2dataset_makes_of_it(
    resizer: Any,
    size: tuple[int, int],
    image_size: int,
    mode: str,
    only_if_bigger: bool,
    form: str,
    color: str,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    if color == "I;16":
        picture = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(pixels).convert(color)
    body = io.BytesIO()
    picture.save(body, "PNG")
    theirs, ours = both(
        resizer,
        body.getvalue(),
        image_size=image_size,
        resize_mode=mode,
        resize_only_if_bigger=only_if_bigger,
        encode_format=form,
        encode_quality={"jpg": 90, "png": 2, "webp": 100}[form],
    )

    assert ours == theirs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
@pytest.mark.parametrize("only_if_bigger", [True, False])
@pytest.mark.parametrize("size", [(40, 40), (64, 64), (90, 64), (200, 100)])
def test_files_keep_their_bytes_where_those_of_img2dataset_do(
    resizer: Any, mode: str, form: str, only_if_bigger: bool, size: tuple[int, int]
) -> None:
    bodies = [encode(name, size) for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF")]
    bodies += [encode("JPEG", size, mode="CMYK"), encode("PNG", size, mode="RGBA"), b"", b"x" * 99]
    for body in bodies:
        theirs, ours = both(
            resizer,
            body,
            image_size=64,
            resize_mode=mode,
            resize_only_if_bigger=only_if_bigger,
            encode_format=form,
            encode_quality=5,
            skip_reencode=True,
        )
        if not body:
            # cv2's message names the place where it was built.
            theirs, ours = [text.split("error:")[1] for text in (theirs, ours)]
        assert ours == theirs


@pytest.mark.parametrize("size", [(49, 60), (50, 50), (50, 100), (50, 101), (400, 50)])
def test_small_and_narrow_images_are_refused_where_img2dataset_refuses_them(
    resizer: Any, size: tuple[int, int]
) -> None:
    theirs, ours = both(resizer, encode("PNG", size), min_image_size=50, max_aspect_ratio=2.0)

    assert ours == theirs


def photograph() -> Image.Image:
    """Smooth colours with some edges."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return small.resize((400, 300), Image.Resampling.BICUBIC)


def distance(one: Image.Image, other: Image.Image) -> int:
    def digest(picture: Image.Image) -> int:
        return int(perceptual_hash(np.asarray(picture.convert("RGB"))), 16)

    return (digest(one) ^ digest(other)).bit_count()


def test_similar_images_have_similar_perceptual_hashes() -> None:
    original = photograph()
    encoded = io.BytesIO()
    original.save(encoded, "JPEG", quality=30)

    assert distance(original, original.resize((123, 96))) <= 6
    assert distance(original, Image.open(encoded)) <= 6
    assert distance(original, ImageEnhance.Brightness(original).enhance(0.8)) <= 6
    assert distance(original, original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 15
    assert distance(original, Image.open(io.BytesIO(encode()))) > 15


def test_perceptual_hashes_are_computed_when_asked_for() -> None:
    body = encode("PNG", (300, 300), "L")

    assert (
        len(Scaler(DownloadSettings(perceptual_hash=True), None)(body, None).perceptual_hash) == 16
    )
    assert Scaler(DownloadSettings(), None)(body, None).perceptual_hash is None
