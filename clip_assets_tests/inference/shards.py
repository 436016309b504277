"""Samples, small real shards of them, and pools that embed them."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.layout import PartitionKey
from clip_assets.settings import InferenceSettings
from clip_assets.storage.store import Store
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.upstream import MadeUp

P = layout.partition_key(0)


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


def made_up(
    store: Store, inference: InferenceSettings, encoder: Callable[[], Encoder] | None = None
) -> MadeUp:
    """A pool whose shards are made up; its model is that of its settings if none is given."""
    return MadeUp(store, encoder=encoder, devices="none", inference=inference.model_dump())


def image_shards(made: MadeUp, shards: Sequence[Sequence[Pair]]) -> None:
    """Make up the shards of the partition ``P`` from the samples of each."""
    image_shards_of(made, P, shards)


def image_shards_of(
    made: MadeUp, partition: PartitionKey, shards: Sequence[Sequence[Pair]]
) -> None:
    """Make up the shards of a partition from the samples of each."""
    files = {
        layout.shard_tar(partition, number): partial(_write_tar, pairs)
        for number, pairs in enumerate(shards)
    }
    made.make(layout.IMAGE_SHARDS, partition, sum(map(len, shards)), files)


def _write_tar(pairs: Sequence[Pair], part: Path) -> None:
    part.write_bytes(tar_bytes(pairs))
