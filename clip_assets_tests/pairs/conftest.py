"""Source files of any content, read as one partition."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.layout import PartitionKey
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.storage import tables
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

Content = str | bytes | pa.Table | Path
"""What a source holds; a path is a source that is there already."""


@dataclass(frozen=True)
class Read:
    """What became of one partition."""

    store: Store
    partition: PartitionKey
    report: Report
    peak_memory_bytes: int

    @property
    def table(self) -> pa.Table:
        if not self.report.rows_out:
            return schemas.PAIRS.empty_table()
        with self.store.local(layout.raw(self.partition)) as file:
            return pq.read_table(file)

    @property
    def rows(self) -> list[tuple[str, str | None]]:
        """(url, caption) of every pair, in order."""
        table = self.table
        return list(zip(*(table[name].to_pylist() for name in ("url", "caption")), strict=True))

    def column(self, name: str) -> list[object]:
        """Values of a column, also of one that is in ``further``."""
        if name not in self.table.schema.names:
            said = [json.loads(text or "{}") for text in self.table["further"].to_pylist()]
            return [row.get(name) for row in said]
        return self.table[name].to_pylist()

    @property
    def keys(self) -> pa.Table:
        path = layout.pair_keys(self.partition)
        return tables.read(self.store, path, schemas.PAIR_KEYS)

    @property
    def rejects(self) -> list[tuple[int | None, str, str]]:
        """(line, reason, text) of every rejected row, in order."""
        path = layout.rejects(self.partition)
        table = tables.read(self.store, path, schemas.REJECTS)
        return [(row["line"], row["reason"], row["text"]) for row in table.to_pylist()]


Ingest = Callable[..., Read]


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[[str, Content], Path]:
    """``write_source(name, content)``: a source file; returns its path."""

    def write(name: str, content: Content) -> Path:
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def ingest(store: Store, write_source: Callable[[str, Content], Path]) -> Ingest:
    """``ingest({name: content}, **settings)``: the files as one partition."""

    def read(files: Mapping[str, Content], **settings: object) -> Read:
        paths = [
            str(content if isinstance(content, Path) else write_source(name, content))
            for name, content in files.items()
        ]
        made = MadeUp(store, sources=settings)
        (plan,) = add_sources(store, paths, made.settings.sources).plans
        manifest = raw_pairs(made.pool, plan.partition).manifest
        return Read(store, plan.partition, manifest.report, manifest.peak_memory_bytes)

    return read
