"""Pairs to be downloaded, and what a download has made of them."""

import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from clip_assets import layout, schemas
from clip_assets.layout import Key
from clip_assets.settings import DownloadSettings
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

P = layout.partition_key(0)

SCRIPT = """
import sys
from clip_assets import graph
from clip_assets.download.image_shards import image_shards
from clip_assets.download.retry import retry_failed
from clip_assets.pool.pool import Pool
from clip_assets.settings import DownloadSettings, Settings
from clip_assets.storage.store import Store

root, download, key, stage = sys.argv[1:]
settings = Settings(download=DownloadSettings.model_validate_json(download))
pool = Pool(Store.open(root), settings, graph.ASSETS)
{"image_shards": image_shards, "retry_failed": retry_failed}[stage](pool, key)
"""


def encode(
    form: str = "JPEG", size: tuple[int, int] = (320, 240), mode: str = "RGB", **options: Any
) -> bytes:
    """A smooth coloured image; other sizes and formats give other bytes."""
    width, height = size
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)) % 256
    pixels = np.stack([ramp, 255 - ramp, np.full_like(ramp, (7 * width) % 256)], axis=-1)
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(content, form, **options)
    return content.getvalue()


def png_with(body: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with further chunks, each a name and what it holds, behind its header."""
    made = [
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return body[:33] + b"".join(made) + body[33:]


def made_up(store: Store, settings: DownloadSettings) -> MadeUp:
    """A pool whose pairs are made up."""
    return MadeUp(store, download=settings.model_dump())


def unique_pairs(made: MadeUp, urls: Sequence[str], key: Key = P, **columns: list[Any]) -> None:
    """Make up the pairs of a partition, with further columns of ``schemas.PAIRS``."""
    put_pairs(made, pairs_table(urls, **columns), key)


def pairs_table(urls: Sequence[str], **columns: list[Any]) -> pa.Table:
    """Pairs in the columns of ``schemas.PAIRS``."""
    captions = columns.pop("caption", [f"caption {i}" for i in range(len(urls))])
    texts = [f"{url}\x1f{caption}" for url, caption in zip(urls, captions, strict=True)]
    uids = [hashlib.md5(text.encode()).hexdigest() for text in texts]
    given = {"uid": uids, "url": list(urls), "caption": captions} | columns
    return pa.table(
        {f.name: pa.array(given.get(f.name, [None] * len(urls)), f.type) for f in schemas.PAIRS}
    )


def put_pairs(made: MadeUp, table: pa.Table, key: Key = P) -> None:
    """Make up the pairs of a partition."""
    files = {layout.unique(key): lambda part: tables.write(part, table)}
    made.make(layout.UNIQUE_PAIRS, key, len(table), files)


def started(
    root: Path, settings: DownloadSettings, key: Key = P, stage: str = "image_shards"
) -> "subprocess.Popen[bytes]":
    """A process that downloads a partition, or retries it."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), settings.model_dump_json(), key, stage]
    )


def samples(content: bytes) -> dict[str, bytes]:
    """Members of a tar by name, in the tar's order."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert member.name not in found
            found[member.name] = file.read()
    return found


def read_samples(store: Store, number: int) -> dict[str, bytes]:
    """Members of one shard's tar by name, in the tar's order."""
    return samples(store.read_bytes(layout.shard_tar(P, number)))


def read_rows(store: Store, number: int) -> list[dict[str, Any]]:
    """The rows of one shard."""
    return tables.read(store, layout.shard_rows(P, number), schemas.SHARD_ROWS).to_pylist()
