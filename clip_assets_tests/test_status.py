"""Where a pool stands, read from manifests."""

import json
from pathlib import Path

import pytest

from clip_assets import planning, status
from clip_assets.layout import PartitionKey
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions import ledger
from clip_assets.settings import Settings, Sources
from clip_assets.storage.manifests import Catalog, Failure, write_failure
from clip_assets.storage.store import Store

SETTINGS = Settings(sources=Sources(rows_per_partition=2))


@pytest.fixture
def planned(store: Store, tmp_path: Path) -> Store:
    """A pool of three partitions, the first with its raw pairs."""
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"url\nhttp://h/{number}\nhttp://h/{number}b\n")
    ledger.add_sources(store, [str(tmp_path / "*.csv")], SETTINGS.sources)
    raw_pairs(Catalog(store), PartitionKey("00000"), SETTINGS.sources)
    return store


def test_empty_pool_says_what_to_do(store: Store) -> None:
    found = status.report(store, SETTINGS)
    assert found["partitions"] == {}
    assert found["success_rate"] is None
    assert "clip-assets add" in status.as_text(found)


def test_every_asset_and_partition_has_a_state(planned: Store) -> None:
    found = status.report(planned, SETTINGS)
    assert json.loads(json.dumps(found)) == found
    assert list(found["partitions"]) == ["00000", "00001", "00002"]
    assert [states["raw_pairs"] for states in found["partitions"].values()] == [
        "done",
        "missing",
        "missing",
    ]
    assets = {node.asset for node in planning.graph(Catalog(planned), SETTINGS)}
    assert {*found["partitions"]["00000"], *found["pool"]} == assets
    assert found["rows"]["raw_pairs"] == 2
    assert found["index"] == {"served": None, "partitions_behind": ["00000", "00001", "00002"]}


def test_failure_is_told_with_its_reason(planned: Store) -> None:
    failure = Failure("SourceMissingError", "1.csv: found nothing", "2026-01-01T00:00:00Z")
    write_failure(planned, "raw_pairs", PartitionKey("00001"), failure)
    found = status.report(planned, SETTINGS)
    assert found["failures"] == {"raw_pairs 00001": "1.csv: found nothing"}
    text = status.as_text(found)
    assert "1 done, 1 failed, 1 missing" in text
    assert "failed: raw_pairs 00001: 1.csv: found nothing" in text
    assert "next: clip-assets run" in text


def test_looking_writes_nothing(planned: Store) -> None:
    before = planned.list("")
    status.report(planned, SETTINGS)
    assert planned.list("") == before


def test_long_pools_are_cut_as_text() -> None:
    states = {f"{number:05d}": {"raw_pairs": "missing"} for number in range(status.SHOWN + 5)}
    found: status.Report = {
        "root": "r",
        "partitions": states,
        "pool": {},
        "rows": {"raw_pairs": 0},
        "success_rate": 0.5,
        "index": {"served": None},
        "failures": {},
    }
    text = status.as_text(found)
    assert "... and 5 more" in text
    assert "50.0% of urls" in text
