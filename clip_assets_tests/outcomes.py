"""Pairs and what became of them, made up as the stages before pool metadata leave them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.layout import Key
from clip_assets.metadata.pool_metadata import pool_metadata
from clip_assets.storage import tables
from clip_assets.storage.manifests import Manifest
from clip_assets.subsets.subset_files import subsets
from clip_assets_tests.upstream import MadeUp

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair and what became of it."""

    caption: str | None = "a red circle on white"
    url: str = ""
    uid: str = ""
    status: str = "success"
    width: int | None = 640
    height: int | None = 480
    similarity: float | None = 0.3
    b32: float | None = None
    opt_outs: tuple[str, ...] | None = None
    perceptual_hash: str | None = None
    is_cut: bool | None = None
    exif: str | None = None

    def named(self, number: int) -> "Pair":
        """With a url and a uid."""
        url = self.url or f"http://h/{number}.jpg"
        digest = hashlib.md5(f"{url}\x1f{self.caption}".encode()).hexdigest()
        return replace(self, url=url, uid=self.uid or digest)


class Outcomes(MadeUp):
    """A pool whose pairs, shards and embeddings are made up; everything after them is real."""

    def add(self, number: int, pairs: Sequence[Pair], *, per_shard: int = 3) -> Key:
        """A partition of these pairs."""
        key = layout.partition_key(number)
        named = [pair.named(place) for place, pair in enumerate(pairs)]
        self.pairs(key, named)
        self.shards(key, named, per_shard)
        self.embeddings(key, named, per_shard)
        return key

    def pairs(self, key: Key, pairs: Sequence[Pair]) -> None:
        """The unique pairs of a partition."""
        rows = [
            {
                "uid": pair.uid,
                "url": pair.url,
                "caption": pair.caption,
                "clip_b32_similarity_score": pair.b32,
            }
            for pair in pairs
        ]
        self._table(layout.UNIQUE_PAIRS, key, len(rows), {layout.unique(key): rows}, schemas.PAIRS)

    def shards(self, key: Key, pairs: Sequence[Pair], per_shard: int = 3) -> None:
        """The shards of a partition."""
        rows = [
            {
                "uid": pair.uid,
                "url": pair.url,
                "caption": pair.caption,
                "key": f"{place:08d}",
                "status": pair.status,
                "error_class": None if pair.status == "success" else "http_404",
                "original_width": pair.width,
                "original_height": pair.height,
                "attempts": 1,
                "is_placeholder": False,
                "opt_outs": pair.opt_outs,
                "perceptual_hash": pair.perceptual_hash,
                "exif": pair.exif,
            }
            for place, pair in enumerate(pairs)
        ]
        files = {
            layout.shard_rows(key, start // per_shard): rows[start : start + per_shard]
            for start in range(0, len(rows), per_shard)
        }
        self._table(layout.IMAGE_SHARDS, key, len(rows), files, schemas.SHARD_ROWS)

    def embeddings(self, key: Key, pairs: Sequence[Pair], per_shard: int = 3) -> None:
        """What the embeddings of a partition's images are of; without the vectors."""
        rows = [
            {
                "uid": pair.uid,
                "key": f"{place:08d}",
                "image_path": f"{key}/{place // per_shard:05d}/{place:08d}",
                "similarity": pair.similarity,
            }
            for place, pair in enumerate(pairs)
            if pair.status == "success"
        ]
        inputs = [
            {"digest": bytes(16), "is_caption_cut": pair.is_cut}
            for pair in pairs
            if pair.status == "success"
        ]
        made = {
            layout.embedding_rows(key): pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS),
            layout.embedding_inputs(key): pa.Table.from_pylist(inputs, schemas.EMBEDDING_INPUTS),
        }
        # A release before wrote no inputs.
        is_told = any(pair.is_cut is not None for pair in pairs)
        files = {
            path: partial(tables.write, table=table)
            for path, table in made.items()
            if is_told or path == layout.embedding_rows(key)
        }
        self.make(layout.EMBEDDINGS, key, len(rows), files)

    def _table(
        self, asset: str, key: Key, rows: int, files: dict[str, Rows], schema: pa.Schema
    ) -> None:
        written = {
            path: partial(tables.write, table=pa.Table.from_pylist(list(part), schema))
            for path, part in files.items()
        }
        self.make(asset, key, rows, written)

    def metadata(self, *keys: Key) -> None:
        """Make the metadata of some partitions, by default of all."""
        for key in keys or self.pool.partitions:
            pool_metadata(self.pool, key)

    def rows(self, key: Key) -> list[dict[str, Any]]:
        """The metadata of a partition."""
        return tables.read(self.store, layout.pool_rows(key), schemas.POOL_ROWS).to_pylist()

    def subset(self, name: str) -> Manifest:
        """Make a subset."""
        return subsets(self.pool, Key(name)).manifest

    def uids(self, name: str) -> npt.NDArray[np.void]:
        """What a subset lists."""
        with self.store.local(layout.subset(name)) as file:
            return np.load(file)
