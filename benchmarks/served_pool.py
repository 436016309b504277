"""A pool of many made-up pairs with the demo's own model, and the same for clip-retrieval.

Scenes of the demo's kind are drawn, and embedded with its model; every vector lies around those of
one of them, its image's and its caption's. So queries of that model lie where queries do: captions
off the images. Everything made of the vectors is made by the pool's own stages.
"""

import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.demo import captions, drawing, scenes
from clip_assets.layout import Key
from clip_assets.settings import InferenceSettings
from clip_assets.storage import tables, vectors
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Indexed

Floats = npt.NDArray[np.float32]

SCENES = 3_000
SPREAD = 0.35
"""Length of what a vector has of its own, where that of its scene is 1."""
PER_PARTITION = 100_000

AT_ONCE = 500
"""Scenes whose pixels are in memory together."""


DEMO = InferenceSettings(model="demo", pretrained=None)


def pool(
    folder: Path,
    rows: int,
    later: int = 0,
    *,
    model: InferenceSettings = DEMO,
    drawn_scenes: int = SCENES,
    index_bytes: int | None = None,
) -> list[str]:
    """Make a pool with a served index.

    Args:
        folder: where; its ``pool.yaml`` has its settings.
        rows: pairs of it.
        later: pairs that are there after a first version of the index, for a second one.
        model: of its vectors.
        drawn_scenes: that these lie around.
        index_bytes: memory that its index may take; None: as is usual.

    Returns:
        Names of the versions; the last one is served.
    """
    from clip_assets.encoders.openclip.loading import load_encoder

    folder.mkdir(parents=True)
    named = {"model": model.model, "pretrained": model.pretrained}
    settings: dict[str, Any] = {"inference": named}
    if index_bytes:
        settings["index"] = {"max_memory_bytes": index_bytes}
    (folder / "pool.yaml").write_text(json.dumps(settings))
    made = Indexed(Store.open(str(folder)), **settings)
    encoder = load_encoder(made.settings.inference, "cpu")
    random = np.random.default_rng(0)
    drawn = [scenes.random_scene(random) for _ in range(drawn_scenes)]
    words = [captions.rich_caption(scene, random) for scene in drawn]
    parts = [drawn[start : start + AT_ONCE] for start in range(0, len(drawn), AT_ONCE)]
    images = [
        encoder.encode_images([encoder.preprocess(_jpeg(scene)) for scene in part])
        for part in parts
    ]
    sides = [np.concatenate(images), encoder.encode_text(words)]
    counts = [min(PER_PARTITION, rows - start) for start in range(0, rows, PER_PARTITION)]
    names: list[str] = []
    for number, count in enumerate([*counts, later] if later else counts):
        if number == len(counts):
            names.append(made.index())
        start = number * PER_PARTITION
        which = random.integers(0, drawn_scenes, count)
        own = [_row(start + place, words[scene]) for place, scene in enumerate(which.tolist())]
        around = [_around(side.astype(np.float32)[which], random) for side in sides]
        key = made.put(number, around, own, content=str(number), model=encoder.identity)
        _describe(made, key, own)
    return [*names, made.index()]


def queries(count: int) -> tuple[list[str], list[bytes]]:
    """Captions and images of scenes that no pool has, each caption another."""
    random = np.random.default_rng(1)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[captions.rich_caption(scenes.random_scene(random), random)] = None
    return list(texts), [_jpeg(scenes.random_scene(random)) for _ in range(count)]


def clip_retrieval(pool_folder: Path, folder: Path) -> None:
    """Write a pool's images' vectors and rows as ``clip-retrieval inference`` would."""
    store = Store.open(str(pool_folder))
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, key in enumerate(sorted(path.stem for path in pool_folder.glob("partitions/*"))):
        with vectors.opened(store, layout.img_emb(Key(key))) as array:
            np.save(folder / "img_emb" / f"img_emb_{number}.npy", np.array(array))
        table = tables.read(store, layout.embedding_rows(Key(key)), schemas.EMBEDDING_ROWS)
        kept = table.select(["image_path", "caption", "url", "key", "width", "height"])
        with (folder / "metadata" / f"metadata_{number}.parquet").open("wb") as file:
            # Of an older arrow, which reads no newer parquet.
            pq.write_table(kept, file, version="2.4", compression="snappy")


def _jpeg(scene: scenes.Scene) -> bytes:
    file = io.BytesIO()
    drawing.draw(scene).save(file, "JPEG", quality=90)
    return file.getvalue()


def _around(centres: Floats, random: np.random.Generator) -> Floats:
    own = random.standard_normal(centres.shape, dtype=np.float32)
    own *= SPREAD / np.linalg.norm(own, axis=1, keepdims=True)
    moved = centres + own
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def _row(number: int, caption: str) -> dict[str, Any]:
    url = f"http://images.example/{number:09d}.jpg"
    return {
        "uid": hashlib.md5(f"{url} {caption}".encode()).hexdigest(),
        "url": url,
        "caption": caption,
        "width": 256,
        "height": 192,
        "original_width": 640,
        "original_height": 480,
        "sha256": hashlib.sha256(url.encode()).hexdigest(),
        "similarity": 0.3,
    }


def _describe(made: Indexed, key: Key, rows: list[dict[str, Any]]) -> None:
    """The pool's metadata of a partition."""
    told = [
        {
            "uid": row["uid"],
            "url": row["url"],
            "text": row["caption"],
            "original_width": row["original_width"],
            "original_height": row["original_height"],
            "status": "success",
            "nsfw": "UNLIKELY",
            "shard": f"{key}/00000",
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(told, schemas.POOL_ROWS)
    files = {layout.pool_rows(key): partial(tables.write, table=table)}
    made.make(layout.POOL_METADATA, key, len(rows), files)
