"""Tars whose samples are told by their captions, and a pool with such tars."""

import io
import json
import tarfile
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_assets import Pool, graph, layout, schemas
from clip_assets.demo import server, world
from clip_assets.layout import Key
from clip_assets.partitions import ledger
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.pools import write_settings
from clip_assets_tests.upstream import MadeUp

NEEDED = [
    layout.RAW_PAIRS, layout.UNIQUE_PAIRS, layout.IMAGE_SHARDS, layout.EMBEDDINGS,
    layout.POOL_METADATA, layout.SUBSETS, layout.INDEX_RECIPE, layout.INDEX_SEGMENTS,
    layout.FAISS_INDEX, layout.ID_MAPPING,
]  # fmt: skip
"""Assets that training needs, and queries."""


RARE = 40
"""The sample that says ``rare``."""


def uid_of(number: int) -> str:
    return f"{number * 2654435761 % 2**64:016x}{number:016x}"


def write_tar(path: Path, numbers: Sequence[int]) -> None:
    """A webdataset tar of numbered samples."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            caption = f"caption {number}"
            said = {"uid": uid_of(number), "caption": caption, "number": number}
            said |= {"rare": 0.5} if number == RARE else {}
            members = {
                "jpg": encoded(draw(number)),
                "json": json.dumps(said).encode(),
                "txt": caption.encode(),
            }
            for extension, content in members.items():
                member = tarfile.TarInfo(f"{number:05d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="session")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of 30, 1 and 22 samples, numbered through."""
    folder = tmp_path_factory.mktemp("tars")
    for name, numbers in {"a": range(30), "b/c": range(30, 31), "d": range(31, 53)}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_tar(folder / f"{name}.tar", numbers)
    return folder


class Streamed(MadeUp):
    """A pool whose shards are made up: samples are numbered, every fourth pair has none."""

    def add(self, partition: int, shards: Sequence[Sequence[int]], *, metadata: bool = True) -> Key:
        key = layout.partition_key(partition)
        files: dict[str, Callable[[Path], object]] = {}
        # A download finishes its shards in any order.
        for number, numbers in reversed([*enumerate(shards)]):
            there = [n for n in numbers if n % 4]
            files[layout.shard_tar(key, number)] = partial(write_tar, numbers=there)
            table = self._table([self._row(n) for n in numbers], schemas.SHARD_ROWS)
            files[layout.shard_rows(key, number)] = partial(tables.write, table=table)
        pairs = [n for numbers in shards for n in numbers]
        there = sum(1 for n in pairs if n % 4)
        self.make(layout.IMAGE_SHARDS, key, there, files, rows_in=len(pairs))
        if metadata:
            table = self._table([self._row(n) for n in pairs], schemas.POOL_ROWS)
            rows = {layout.pool_rows(key): partial(tables.write, table=table)}
            self.make(layout.POOL_METADATA, key, len(pairs), rows)
        return key

    @staticmethod
    def _row(number: int) -> dict[str, Any]:
        return {
            "uid": uid_of(number),
            "url": f"http://h/{number}",
            "status": "success" if number % 4 else "failed_to_download",
            "key": f"{number:05d}",
            "attempts": 1,
            "is_placeholder": False,
            "aesthetic": number / 8,
        }

    @staticmethod
    def _table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
        known = [{name: row.get(name) for name in schema.names} for row in rows]
        return pa.Table.from_pylist(known, schema=schema)


@pytest.fixture(scope="session")
def demo_pool(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pool]:
    """A pool of a small demo world in a folder ``demo-pool``, with subsets; its urls are served."""
    folder = tmp_path_factory.mktemp("streaming")
    (root := folder / "demo-pool").mkdir()
    with server.serving(folder / "world") as url:
        world.build_world(folder / "world", url, 250)
        settings = {
            "download": {"allow_hosts": ["127.0.0.1"], "retries": 0, "deadline_s": 6},
            "inference": {"model": "demo", "pretrained": None},
        }
        write_settings(root, settings)
        pool = graph.open_pool(str(root), create=True)
        ledger.add_sources(pool.store, [str(folder / "world" / "sources")], pool.settings.sources)
        for name in NEEDED:
            asset = graph.ASSETS[name]
            for key in pool.renewed().keys(asset.axis):
                asset.make(pool.renewed(), key)
        yield pool.renewed()


@pytest.fixture
def streamed(store: Store) -> Streamed:
    """An empty pool, on a disk and on an object store."""
    return Streamed(store)
