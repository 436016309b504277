"""A pool with an index, some of whose rows may not be published, and hostile captions."""

import subprocess
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.layout import WHOLE
from clip_assets.pool.asset import Outcome
from clip_assets.publishing.hub_dataset import hub_dataset
from clip_assets.stats.metadata_stats import metadata_stats
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.retrieval.conftest import Captions

HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(2)) ![y](http://h/z.png)\n# A heading"
CAPTIONS = [[HOSTILE, *(f"caption {n}" for n in range(11))], [f"text {n}" for n in range(9)]]
RESERVED = {"caption 3", "text 0"}
"""Captions of rows whose use is reserved."""


class Published(Captions):
    """A pool of some partitions, indexed, with metadata of each row."""

    def __init__(
        self,
        store: Store,
        captions_of: Sequence[Sequence[str]] = CAPTIONS,
        *,
        flat_limit: int = 10_000,
        **hub: Any,
    ) -> None:
        super().__init__(store)
        self.set(hub={"repository": "we/pairs"} | hub, index={"flat_limit": flat_limit})
        for number, captions in enumerate(captions_of):
            key = self.add(number, captions)
            rows = [self._row(text) for text in captions]
            table = pa.Table.from_pylist(rows, schemas.POOL_ROWS)
            files = {layout.pool_rows(key): partial(tables.write, table=table)}
            self.make(layout.POOL_METADATA, key, len(rows), files)
        self.index()
        metadata_stats(self.pool, WHOLE)

    @staticmethod
    def uid(caption: str) -> str:
        """The uid of a pair."""
        return f"{zlib.crc32(caption.encode()):032x}"

    @staticmethod
    def _row(caption: str) -> dict[str, Any]:
        return {
            "uid": Published.uid(caption),
            "url": "http://h/",
            "text": caption,
            "status": "success",
            "license": "<b>CC</b>|0",
            "opt_outs": ["tdm_reservation"] if caption in RESERVED else [],
        }

    def published(self) -> Outcome:
        return hub_dataset(self.pool, WHOLE)


@pytest.fixture
def made(local_store: Store) -> Published:
    """A pool on a disk."""
    return Published(local_store)


@pytest.fixture
def full_disk_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, which has no room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.fail(f"tests of a full disk must be able to mount a tmpfs: {mounted.stderr!r}")
    (folder / "other").write_bytes(bytes(60_000))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
