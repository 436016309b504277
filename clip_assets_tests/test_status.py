"""Where a pool stands, read from manifests."""

import json
import re
from pathlib import Path

import pytest

from clip_assets import graph, layout, status
from clip_assets.layout import Key
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions import ledger
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Failure
from clip_assets_tests.upstream import MadeUp


@pytest.fixture
def pool(made: MadeUp, tmp_path: Path) -> Pool:
    """A pool of three partitions, the first with its raw pairs."""
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"url\nhttp://h/{number}\nhttp://h/{number}b\n")
    made.set(sources={"rows_per_partition": 2})
    ledger.add_sources(made.store, [str(tmp_path / "*.csv")], made.settings.sources)
    raw_pairs(made.pool, Key("00000"))
    return made.pool


def test_empty_pool_says_what_to_do(made: MadeUp) -> None:
    found = status.report(made.pool)
    assert found["partitions"] == {}
    assert found["success_rate"] is None
    assert "clip-assets add" in status.as_text(found)


def test_every_asset_and_partition_has_a_state(pool: Pool) -> None:
    found = status.report(pool)
    assert json.loads(json.dumps(found)) == found
    assert list(found["partitions"]) == ["00000", "00001", "00002"]
    assert [states["raw_pairs"] for states in found["partitions"].values()] == [
        "done",
        "missing",
        "missing",
    ]
    assert {
        *found["partitions"]["00000"],
        *found["pool"],
        layout.SUBSETS,
        layout.SUBSET_SHARDS,
    } == {*graph.ASSETS}
    assert found["subsets"] == dict.fromkeys(pool.settings.subsets, "missing")
    assert found["subset_shards"] == {}, "none are asked for"
    assert {*found["pool"].values()} == {"missing"}
    assert found["rows"]["raw_pairs"] == 2
    assert found["index"] == {
        "served": None,
        "vectors": None,
        "partitions_behind": ["00000", "00001", "00002"],
    }


def test_failure_is_told_with_its_reason(pool: Pool) -> None:
    failure = Failure("SourceMissingError", "1.csv: found nothing", "2026-01-01T00:00:00Z")
    pool.catalog.put_failure(layout.RAW_PAIRS, Key("00001"), failure)
    pool.catalog.put_failure(layout.SUBSETS, Key("no_filter"), failure)
    found = status.report(pool)
    assert found["failures"] == dict.fromkeys(
        ["raw_pairs 00001", "subsets no_filter"], "1.csv: found nothing"
    )
    text = status.as_text(found)
    assert "1 done, 1 failed, 1 missing" in text
    assert "failed: raw_pairs 00001: 1.csv: found nothing" in text
    assert re.search(r"^  subsets no_filter +failed$", text, re.MULTILINE)
    assert re.search(r"^  subsets basic_filter +missing$", text, re.MULTILINE)
    assert "next: clip-assets run" in text


def test_looking_writes_nothing(pool: Pool) -> None:
    before = pool.store.list("")
    status.report(pool)
    assert pool.store.list("") == before


def test_long_pools_are_cut_as_text() -> None:
    states = {f"{number:05d}": {"raw_pairs": "missing"} for number in range(status.SHOWN + 5)}
    found: status.Report = {
        "root": "r",
        "partitions": states,
        "subsets": {},
        "pool": {},
        "rows": {"raw_pairs": 0},
        "success_rate": 0.5,
        "without_image": [],
        "kept_by_owners": {},
        "index": {"served": None, "vectors": None},
        "failures": {},
        "damaged": [],
    }
    text = status.as_text(found)
    assert "... and 5 more" in text
    assert "50.0% of urls" in text


def test_text_of_strangers_is_escaped_and_an_index_of_nothing_says_so() -> None:
    reason = {
        "error_class": "dns",
        "urls": 3,
        "example": "http://h/\x1b]0;title\x07",
        "meaning": "gone",
        "advice": "none",
    }
    found: status.Report = {
        "root": "r",
        "partitions": {"00000": {"raw_pairs": "failed"}},
        "subsets": {},
        "pool": {},
        "rows": {"raw_pairs": 0},
        "success_rate": 0.5,
        "without_image": [reason],
        "kept_by_owners": {},
        "index": {"served": "00001", "vectors": 0},
        "failures": {"raw_pairs 00000": "a\x1b[31m.csv\u202e"},
        "damaged": [],
    }
    text = status.as_text(found)
    assert "\x1b" not in text
    assert r"http://h/\x1b]0;title\x07" in text
    assert r"a\x1b[31m.csv\u202e" in text
    assert "00001 is served, and holds no vectors" in text
