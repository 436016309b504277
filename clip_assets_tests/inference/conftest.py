"""Samples, small real shards of them, and an encoder that is meddled with."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Stage, materialize
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store
from clip_assets_tests.models import draw, encoded


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
