"""Loaded models: the numerical promise, identities, and models that cannot be loaded."""

import io
import json
import shutil
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.images import center_square
from clip_assets.encoders.openclip.loading import DEMO_FOLDER, load_encoder
from clip_assets.errors import ImageError, ModelLoadError
from clip_assets.settings import InferenceSettings

WORDS = ("red", "cat", "dog", "house", "sky", "boat", "running", "small", "photo", "of", "a")
COUNT = 64

FLOAT16_ERROR = 5e-5
"""Of a cosine, from storing two unit rows of 512 numbers as float16."""


def captions(count: int = COUNT) -> list[str]:
    random = np.random.default_rng(1)
    return [" ".join(random.choice(WORDS, random.integers(1, 25))) for _ in range(count)]


def random_checkpoint(name: str, path: Path) -> tuple[Any, Any]:
    """A checkpoint of random weights; returns open_clip's own model with them, and its transform.

    Making a large model takes longer than all that is done with it, so it is made once.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(model.state_dict(), path)
    return model, preprocess


def reference(
    name: str,
    files: Sequence[bytes],
    texts: Sequence[str],
    made: tuple[Any, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What open_clip itself computes, in float32 with its own preprocessing.

    Args:
        name: of the model.
        files: images.
        texts: captions.
        made: the model and its transform; None: they are loaded by the name.
    """
    import open_clip
    import torch

    model, preprocess = made or open_clip.create_model_and_transforms(name)[::2]
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        images = torch.stack([preprocess(Image.open(io.BytesIO(file))) for file in files])
        return (
            model.encode_image(images, normalize=True).numpy(),
            model.encode_text(tokenizer(list(texts)), normalize=True).numpy(),
        )


def neighbours_kept(
    ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray], k: int = 10
) -> float:
    """Share of our ``k`` nearest rows that are among theirs, for queries and the rows they search.

    Rows that are as near as their last one, by what float16 can tell, count as among them.
    """
    near, true = ours[0] @ ours[1].T, theirs[0] @ theirs[1].T
    last = -np.sort(-true, axis=1)[:, k - 1]
    found = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return float((np.take_along_axis(true, found, 1) >= last[:, None] - FLOAT16_ERROR).mean())


def assert_promise(
    encoder: Encoder, name: str, files: list[bytes], made: tuple[Any, Any] | None = None
) -> None:
    texts = captions(len(files))
    theirs = reference(name, files, texts, made)
    pixels = [encoder.preprocess(file) for file in files]
    found = encoder.encode_images(pixels), encoder.encode_text(texts)
    assert all(vectors.dtype == np.float16 for vectors in found)
    ours = [vectors.astype(np.float32) for vectors in found]
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine * other).sum(axis=1).mean() >= 0.999
    for query, searched in product(range(2), repeat=2):
        kept = neighbours_kept((ours[query], ours[searched]), (theirs[query], theirs[searched]))
        assert kept >= 0.99, (query, searched)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_small_model_keeps_the_promise(
    inference: InferenceSettings, images: Callable[..., bytes], precision: str
) -> None:
    settings = inference.model_copy(update={"precision": precision})
    files = [images(number, (50 + number, 70)) for number in range(COUNT)]
    assert_promise(load_encoder(settings, "cpu"), inference.model, files)


@pytest.mark.parametrize(
    "parts",
    [
        {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}},
        {"quick_gelu": True},
        {"custom_text": True},
        {"text_cfg": {"width": 64, "heads": 2, "layers": 2, "no_causal_mask": True}},
        {"text_cfg": {"width": 64, "heads": 2, "layers": 2, "pool_type": "last"}},
        {
            "vision_cfg": {
                "image_size": 32,
                "layers": 2,
                "width": 64,
                "patch_size": 8,
                "pool_type": "avg",
            }
        },
        {
            "vision_cfg": {
                "image_size": 64,
                "timm_model_name": "test_resnet",
                "timm_pool": "avg",
                "timm_proj": "linear",
            }
        },
        {
            "vision_cfg": {
                "image_size": 64,
                "timm_model_name": "test_vit",
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "embed_dim": 64,
        },
    ],
    ids=[
        "resnet",
        "quick-gelu",
        "custom-text",
        "bidirectional",
        "last-token",
        "average",
        "timm-resnet",
        "timm-vit",
    ],
)
def test_other_architectures_keep_the_promise(
    make_model: Callable[..., Path], images: Callable[..., bytes], parts: dict[str, Any]
) -> None:
    name = f"local-dir:{make_model(model_cfg=parts)}"
    files = [images(number) for number in range(COUNT)]
    encoder = load_encoder(InferenceSettings(model=name, precision="fp32"), "cpu")
    assert_promise(encoder, name, files)


def test_the_demos_model_keeps_the_promise(images: Callable[..., bytes]) -> None:
    files = [images(number, (50 + number, 70)) for number in range(COUNT)]
    encoder = load_encoder(InferenceSettings(model="demo"), "cpu")
    assert (encoder.identity.name, encoder.identity.pretrained) == ("demo", None)
    assert_promise(encoder, f"local-dir:{DEMO_FOLDER}", files)


@pytest.mark.slow
def test_vit_b_32_keeps_the_promise_at_automatic_precision(
    tmp_path: Path, images: Callable[..., bytes]
) -> None:
    checkpoint = tmp_path / "random.pt"
    made = random_checkpoint("ViT-B-32", checkpoint)
    settings = InferenceSettings(model="ViT-B-32", pretrained=str(checkpoint), batch_size=32)
    files = [images(number, (250, 230)) for number in range(COUNT)]
    assert_promise(load_encoder(settings, "cpu"), "ViT-B-32", files, made)


@pytest.mark.slow
def test_a_vit_l_14_checkpoint_is_loaded(
    tmp_path: Path, images: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import factory

    # As wide as the real one, with few of its layers: they are all alike.
    config = factory._MODEL_CONFIGS["ViT-L-14"]  # pyright: ignore[reportPrivateUsage]
    shallow = {name: config[name] | {"layers": 3} for name in ("vision_cfg", "text_cfg")}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-L-14", config | shallow)  # pyright: ignore[reportPrivateUsage]
    checkpoint = tmp_path / "random.safetensors"
    made = random_checkpoint("ViT-L-14", checkpoint)
    encoder = load_encoder(InferenceSettings(model="ViT-L-14", pretrained=str(checkpoint)), "cpu")
    files, texts = [images(number, (250, 230)) for number in range(2)], captions(2)
    image, text = reference("ViT-L-14", files, texts, made)
    assert encoder.dim == 768
    ours = encoder.encode_images([encoder.preprocess(file) for file in files])
    assert (ours * image).sum(axis=1).min() >= 0.999
    assert (encoder.encode_text(texts) * text).sum(axis=1).min() >= 0.999


@pytest.mark.parametrize("mode", ["squash", "longest", "shortest"])
@pytest.mark.parametrize("size", [(1, 1), (33, 31), (32, 32), (31, 100), (333, 47), (400, 90)])
def test_preprocessing_is_the_models_own(
    make_model: Callable[..., Path],
    images: Callable[..., bytes],
    mode: str,
    size: tuple[int, int],
) -> None:
    import open_clip

    folder = make_model(preprocess_cfg={"resize_mode": mode, "interpolation": "bilinear"})
    name = f"local-dir:{folder}"
    content = images(3, size, form="PNG")
    _, _, preprocess = open_clip.create_model_and_transforms(name)
    expected = preprocess(Image.open(io.BytesIO(content))).numpy().transpose(1, 2, 0)
    normalize = preprocess.transforms[-1]
    levels = (expected * np.array(normalize.std) + np.array(normalize.mean)) * 255
    pixels = load_encoder(InferenceSettings(model=name), "cpu").preprocess(content)
    assert np.abs(pixels - levels).max() < 1.01


def test_jpegs_decoded_by_the_device_keep_the_promise(
    inference: InferenceSettings, images: Callable[..., bytes]
) -> None:
    settings = inference.model_copy(update={"device_jpegs": True})
    encoder = load_encoder(settings, "cpu")
    shapes = [(50 + number, 70) for number in range(COUNT)]
    files = [images(n, shape, progressive=n % 2 == 0) for n, shape in enumerate(shapes)]
    assert not isinstance(encoder.preprocess(files[0]), np.ndarray)
    assert_promise(encoder, inference.model, files)


def test_what_the_device_cannot_decode_is_decoded_as_always(
    inference: InferenceSettings, encoder: Encoder, images: Callable[..., bytes]
) -> None:
    other = load_encoder(inference.model_copy(update={"device_jpegs": True}), "cpu")
    files = [
        images(1, mode="L"),
        images(2, mode="CMYK"),
        images(3, form="PNG"),
        images(4, (5, 200)),
        images(5) + b"trailing",
    ]
    for file in files:
        np.testing.assert_array_equal(other.preprocess(file), encoder.preprocess(file))
    mixed = [other.preprocess(file) for file in [*files, images(6)]]
    expected = encoder.encode_images([encoder.preprocess(file) for file in [*files, images(6)]])
    np.testing.assert_allclose(other.encode_images(mixed), expected, atol=5e-3)
    cut = images(7, (200, 200))
    for broken in (cut[: len(cut) // 2], b"", b"\xff\xd8\xff\xd9"):
        with pytest.raises(ImageError):
            other.preprocess(broken)


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    mode=st.sampled_from(["RGB", "L", "RGBA", "CMYK", "LA"]),
    number=st.integers(0, 9),
)
def test_resizing_and_cropping_at_once_gives_the_same_picture(
    images: Callable[..., bytes], width: int, height: int, mode: str, number: int
) -> None:
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import InterpolationMode

    image = Image.open(io.BytesIO(images(number, (width, height), form="PNG"))).convert(mode)
    expected = CenterCrop(32)(Resize(32, InterpolationMode.BICUBIC)(image)).convert("RGB")
    ours = center_square(image, 32, Image.Resampling.BICUBIC).convert("RGB")
    difference = np.abs(np.asarray(ours, np.int16) - np.asarray(expected, np.int16))
    assert difference.max() <= 2
    assert difference.mean() < 0.5


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (20_000, 300)])
def test_very_long_images_are_embedded(
    encoder: Encoder, images: Callable[..., bytes], size: tuple[int, int]
) -> None:
    assert encoder.preprocess(images(1, size, form="PNG")).shape == (32, 32, 3)


def test_a_shape_that_a_model_cannot_resize_says_so(
    make_model: Callable[..., Path], images: Callable[..., bytes]
) -> None:
    folder = make_model(preprocess_cfg={"resize_mode": "longest"})
    encoder = load_encoder(InferenceSettings(model=f"local-dir:{folder}"), "cpu")
    with pytest.raises(ImageError, match="image of impossible shape"):
        encoder.preprocess(images(1, (1, 5000)))


def test_the_identity_is_of_the_weights_and_not_of_their_file(
    model_folder: Path, tmp_path: Path, inference: InferenceSettings, encoder: Encoder
) -> None:
    import torch
    from safetensors.torch import load_file

    shutil.copy(model_folder / "open_clip_config.json", tmp_path)
    weights = load_file(model_folder / "open_clip_model.safetensors")
    torch.save(weights, tmp_path / "open_clip_pytorch_model.bin")
    moved = load_encoder(InferenceSettings(model=f"local-dir:{tmp_path}", precision="bf16"), "cpu")
    assert moved.identity.sha256 == encoder.identity.sha256
    assert moved.identity.digest() == encoder.identity.digest()
    assert (moved.identity.precision, encoder.identity.precision) == ("bf16", "fp32")


def test_another_preprocessing_is_another_identity(
    make_model: Callable[..., Path], encoder: Encoder
) -> None:
    folder = make_model(preprocess_cfg={"interpolation": "bilinear"})
    other = load_encoder(InferenceSettings(model=f"local-dir:{folder}"), "cpu").identity
    assert other.sha256 == encoder.identity.sha256
    assert other.digest() != encoder.identity.digest()


def unloadable(settings: InferenceSettings) -> str:
    with pytest.raises(ModelLoadError, match=r"inference\.model") as refusal:
        load_encoder(settings, "cpu")
    return refusal.value.found


def test_names_that_do_not_exist_are_refused() -> None:
    assert "ViT-Z-99" in unloadable(InferenceSettings(model="ViT-Z-99"))
    assert "no-such-tag" in unloadable(
        InferenceSettings(model="ViT-B-32", pretrained="no-such-tag")
    )
    assert "no pretrained" in unloadable(InferenceSettings(model="ViT-B-32", pretrained=None))
    assert "/no/such/folder" in unloadable(InferenceSettings(model="local-dir:/no/such/folder"))


def test_folders_without_weights_or_with_wrong_ones_are_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    settings = InferenceSettings(model=f"local-dir:{tmp_path}")
    assert "config" in unloadable(settings)
    config = json.loads((model_folder / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "could not be loaded" in unloadable(settings)
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(b"no safetensors")
    assert "Safetensor" in unloadable(settings)
    shutil.copy(model_folder / "open_clip_model.safetensors", weights)
    config["model_cfg"]["vision_cfg"]["width"] = 128
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "size mismatch" in unloadable(settings)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        " ",
        "\0",
        "a\0b",
        "🦆" * 50,
        "é\u0301",
        "\u202e right to left",
        "x" * 100_000,
        "a " * 50_000,
    ],
    ids=["empty", "space", "nul", "inner-nul", "emoji", "accents", "rtl", "one-word", "words"],
)
def test_any_caption_can_be_embedded(encoder: Encoder, caption: str) -> None:
    vector = encoder.encode_text([caption, "a cat"])[0].astype(np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_a_caption_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    texts = [*captions(), "word " * 200]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_text(texts), alone, atol=1e-3)


def test_captions_in_any_order_of_length_keep_their_rows(encoder: Encoder) -> None:
    texts = ["red cat " * 20, "a", "small dog " * 5, "", "sky " * 30, "a boat"]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    distances = np.abs(encoder.encode_text(texts)[:, None] - alone[None]).max(axis=2)
    assert distances.argmin(axis=1).tolist() == list(range(len(texts)))
    assert distances.diagonal().max() < 1e-3


def test_no_captions_and_no_images_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_text([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)


def test_an_image_that_is_none_says_why(encoder: Encoder) -> None:
    with pytest.raises(ImageError, match="undecodable image"):
        encoder.preprocess(b"GIF89a")


def test_workers_give_the_same_bytes_as_one_call(
    encoder: Encoder, images: Callable[..., bytes]
) -> None:
    from clip_assets.inference.threads import batched, mapped

    pixels = [encoder.preprocess(images(number)) for number in range(24)]
    several = mapped(encoder.encode_images, batched(pixels, 8), 3, 3, encoder.begin_work)
    one = mapped(encoder.encode_images, batched(pixels, 8), 1, 1, encoder.begin_work)
    np.testing.assert_array_equal(np.concatenate(list(several)), np.concatenate(list(one)))
