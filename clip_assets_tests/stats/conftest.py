"""Pool metadata of known content."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.layout import WHOLE
from clip_assets.pool.asset import Outcome
from clip_assets.stats.metadata_stats import metadata_stats
from clip_assets.stats.summary import Summary
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp


class Described(MadeUp):
    """A pool of three partitions whose metadata is made up."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.keys = self.plan(0, 1, 2)

    def describe(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """The metadata of one partition, as done."""
        key = self.keys[number]
        blank = {"uid": "00", "status": "success"}
        table = pa.Table.from_pylist([blank | dict(row) for row in rows], schemas.POOL_ROWS)
        files = {layout.pool_rows(key): partial(tables.write, table=table)}
        self.make(layout.POOL_METADATA, key, len(rows), files, inputs={"rows": str(rows)})

    def stats(self) -> Outcome:
        """The asset, as a new process would make it."""
        return metadata_stats(self.pool, WHOLE)

    def summary(self) -> Summary:
        """What the asset counted."""
        return Summary.parsed(self.store.read_bytes(layout.stats()))


@pytest.fixture
def made(store: Store) -> Described:
    """A pool without metadata, on a disk and on an object store."""
    return Described(store)
