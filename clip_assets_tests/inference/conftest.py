"""A small real model, small real shards, and what a partition of them should become."""

import io
import json
import tarfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Stage, materialize
from clip_assets.settings import Inference
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store

SMALL = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def write_model(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), SMALL)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder of a small model; ``seed`` makes another one, ``config`` changes its parts."""

    def make(seed: int = 0, **config: Any) -> Path:
        merged = {
            "model_cfg": SMALL["model_cfg"] | config.get("model_cfg", {}),
            "preprocess_cfg": SMALL["preprocess_cfg"] | config.get("preprocess_cfg", {}),
        }
        return write_model(tmp_path_factory.mktemp("model"), merged, seed)

    return make


@pytest.fixture(scope="session")
def inference(model_folder: Path) -> Inference:
    return Inference(
        model=f"local-dir:{model_folder}", precision="fp32", batch_size=8, decode_threads=2
    )


@pytest.fixture(scope="session")
def encoder(inference: Inference) -> Encoder:
    from clip_assets.encoders.openclip.loading import load_encoder

    return load_encoder(inference, "cpu")


def draw(number: int, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """A picture that no other number gives."""
    noise = np.random.default_rng(number)
    coarse = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@dataclass
class Pair:
    """A sample as a test wants it; None leaves a member out."""

    number: int
    image: bytes | None = b"draw"
    caption: str | None = "auto"
    json: bytes | None = b"auto"
    extension: str = "jpg"
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        return f"{self.number:032x}"

    def members(self, key: str) -> dict[str, bytes]:
        caption = f"picture number {self.number}" if self.caption == "auto" else self.caption
        found: dict[str, bytes] = {}
        if self.image is not None:
            content = encoded(draw(self.number)) if self.image == b"draw" else self.image
            found[self.extension] = content
        if caption is not None:
            found["txt"] = caption.encode()
        if self.json is not None:
            fields = {
                "uid": self.uid,
                "url": f"https://images.example/{self.number}.jpg",
                "caption": caption,
                "key": key,
                "width": 40,
                "height": 48,
                "original_width": 80,
                "original_height": 96,
                "sha256": f"{self.number:064x}",
            } | self.fields
            found["json"] = json.dumps(fields).encode() if self.json == b"auto" else self.json
        return found


@pytest.fixture(scope="session")
def pair() -> type[Pair]:
    return Pair


class Meddled:
    """An encoder at whose first image somebody does something."""

    def __init__(self, encoder: Encoder, meddle: Callable[[], None]) -> None:
        self._encoder = encoder
        self._meddle = [meddle]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def preprocess(self, content: bytes) -> Any:
        while self._meddle:
            self._meddle.pop()()
        return self._encoder.preprocess(content)


@pytest.fixture(scope="session")
def meddled() -> type[Meddled]:
    return Meddled


@pytest.fixture(scope="session")
def images() -> Callable[..., bytes]:
    """Bytes of an image file: number, size, mode, form and the form's options."""

    def make(
        number: int = 0,
        size: tuple[int, int] = (40, 48),
        mode: str = "RGB",
        form: str = "JPEG",
        **options: Any,
    ) -> bytes:
        return encoded(draw(number, size).convert(mode), form, **options)

    return make


def tar_bytes(pairs: Sequence[Pair], prefix: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, pair in enumerate(pairs):
            key = f"{prefix}{number:09d}"
            for extension, content in pair.members(key).items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture(scope="session")
def make_tar() -> Callable[..., bytes]:
    return tar_bytes


SHARDS = Stage("image_shards", "1")


@pytest.fixture(scope="session")
def write_shards() -> Callable[..., None]:
    """Publish tars of pairs as the image_shards of a partition."""

    def write(store: Store, partition: PartitionKey, shards: Sequence[Sequence[Pair]]) -> None:
        def work(run: Any) -> Report:
            for number, pairs in enumerate(shards):
                with run.publish(layout.shard_tar(partition, number)) as part:
                    part.write_bytes(tar_bytes(pairs))
            rows = sum(map(len, shards))
            return Report(rows_in=rows, rows_out=rows)

        version = str(np.random.default_rng().integers(2**31))
        materialize(Catalog(store), SHARDS, partition, {"version": version}, work)

    return write


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store.open(str(tmp_path / "store"))
    return Store.open(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))
