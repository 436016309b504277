"""A pool with three planned partitions of ten pairs, and an instance of its own."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from clip_assets import settings
from clip_assets.orchestration.resources import Pool
from clip_assets.partitions import ledger


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Three csv files, a partition each; partition 1 repeats two pairs of partition 0."""
    for name in ("CLIP_ASSETS_ROOT", "CLIP_ASSETS_POOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIP_ASSETS_SOURCES__ROWS_PER_PARTITION", "10")
    sources = tmp_path / "sources"
    sources.mkdir()
    for number in range(3):
        first = 8 if number == 1 else 10 * number
        rows = "".join(f"http://h/{row}.jpg,caption {row}\n" for row in range(first, first + 10))
        (sources / f"{number}.csv").write_text(f"url,caption\n{rows}")
    made = Pool(root=str(tmp_path / "pool"))
    added = ledger.add_sources(
        made.store(), [str(sources)], settings.Sources(rows_per_partition=10)
    )
    assert len(added.plans) == 3
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance."""
    with dg.instance_for_test() as made:
        yield made
