"""The numbers of a pool, per partition and in total."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout
from clip_assets.definitions import defs
from clip_assets.layout import WHOLE
from clip_assets.stats import report
from clip_assets.stats.metadata_stats import metadata_stats_inputs
from clip_assets.stats.summary import KEPT_VALUES, OTHER_VALUES, Summary, frequent, total
from clip_assets.storage.manifests import Output
from clip_assets_tests.stats.conftest import Described


def image(url: str, text: str = "a caption", **further: Any) -> dict[str, Any]:
    return {"url": url, "text": text, **further}


FIRST = [
    image("https://A.example/1.jpg", original_width=640, original_height=480, nsfw="UNLIKELY"),
    image("http://u:p@a.example:80/2?x#y", "", original_width=64, original_height=2000),
    image("http://b.example", "x" * 1200, status="failed_to_download", error_class="dns"),
]
SECOND = [
    image("http://a.example/3", clip_similarity_score=0.31, language="en"),
    image("no url at all", None, clip_similarity_score=9.0, license="CC-BY"),
]


def test_the_graph_shows_the_kinds_of_files_that_are_written(made: Described) -> None:
    made.describe(0, FIRST)
    written = {Path(output.path).suffix[1:] for output in made.stats().manifest.outputs}
    (spec,) = (
        spec
        for spec in defs.resolve_all_asset_specs()
        if spec.key.to_user_string() == layout.METADATA_STATS
    )
    assert spec.kinds == written


def test_partitions_are_counted_and_added(made: Described) -> None:
    made.describe(0, FIRST)
    made.describe(2, SECOND)
    made.outdate(layout.POOL_METADATA, made.keys[2])
    figures = made.stats().manifest.report.figures
    summary = made.summary()
    assert summary.rows == 5
    assert summary.status == {"success": 4, "failed_to_download": 1}
    assert summary.domains == {"a.example": 3, "(none)": 1, "b.example": 1}
    assert report.sizes(summary) == {
        "0-63": 0, "64-127": 1, "128-255": 0, "256-511": 1, "512-1023": 0, "1024 or more": 0,
    }  # fmt: skip
    lengths = {name: count for name, count in report.captions(summary).items() if count}
    assert lengths == {"0": 2, "6-10": 2, "1001 or more": 1}
    assert (summary.language["en"], summary.license["CC-BY"], summary.nsfw["UNLIKELY"]) == (1, 1, 1)
    assert sum(summary.scores["clip_similarity_score"]) == 2
    assert figures["partitions_used"] == [made.keys[0], made.keys[2]]
    assert figures["partitions_missing"] == [made.keys[1]]
    assert figures["partitions_stale"] == [made.keys[2]]


def test_a_pool_without_metadata_has_a_report_too(made: Described) -> None:
    assert made.stats().manifest.report.rows_out == 0
    assert "0 pairs in 0 partitions" in made.store.read_bytes(layout.stats_report()).decode()


def test_only_new_partitions_are_counted(made: Described) -> None:
    made.describe(0, FIRST)
    made.stats()
    # What was counted is taken from its summary, which is changed here to tell the difference.
    path = layout.partition_stats(made.keys[0])
    changed = json.dumps(json.loads(made.store.read_bytes(path)) | {"rows": 1000}).encode()
    made.store.write_bytes(path, changed)
    manifest = made.pool.catalog.require(layout.METADATA_STATS)
    of_file = Output(path, len(changed), hashlib.sha256(changed).hexdigest())
    others = [output for output in manifest.outputs if output.path != path]
    made.pool.catalog.put(replace(manifest, outputs=[of_file, *others]))
    made.describe(1, SECOND)
    made.stats()
    assert made.summary().rows == 1002


@pytest.mark.parametrize("content", [b"{}", None])
def test_damaged_counts_are_counted_again(made: Described, content: bytes | None) -> None:
    made.describe(0, FIRST)
    made.stats()
    path = layout.partition_stats(made.keys[0])
    before = made.store.read_bytes(path)
    made.store.delete(path)
    if content is not None:
        made.store.write_bytes(path, content + before[len(content) :])
    made.describe(1, SECOND)
    made.stats()
    assert made.store.read_bytes(path) == before
    assert made.summary().rows == 5


def test_a_partition_that_changed_is_counted_again(made: Described) -> None:
    made.describe(0, FIRST)
    made.stats()
    made.describe(0, SECOND)
    expected = metadata_stats_inputs(made.pool, WHOLE)
    assert made.stats().manifest.inputs == expected
    assert made.summary().rows == 2
    assert made.stats().reused


def test_the_report_is_one_page_that_strangers_cannot_write(made: Described) -> None:
    made.describe(
        0, [image("http://x/1", license="<script>alert(1)</script>&", language="x" * 200)]
    )
    made.outdate(layout.POOL_METADATA, made.keys[0])
    made.stats()
    text = made.store.read_bytes(layout.stats_report()).decode()
    titles = ["Outcome", "Image size", "Caption length", "Language", "NSFW tag", "Domains"]
    assert all(f"<h2>{title}</h2>" in text for title in titles)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text
    assert "<script" not in text
    assert set(re.findall(r'(?:src|href)="(.{10})', text)) == {"data:image"}
    assert "2 partitions have no metadata yet, 1 are stale" in text


def test_scores_of_the_source_and_of_the_model_are_drawn(made: Described) -> None:
    scores = {"similarity": 0.31, "punsafe": 0.02, "aesthetic": 5.5, "clip_similarity_score": 0.2}
    made.describe(0, [image("http://x/1", **scores), image("http://x/2", similarity=0.35)])
    pictures = made.stats().manifest.report.pictures
    assert pictures.keys() >= scores.keys()
    assert report.score("similarity", made.summary().scores["similarity"]) == {
        "0.30": 1, "0.32": 0, "0.34": 1,
    }  # fmt: skip


def test_languages_are_counted_for_the_pool(made: Described) -> None:
    made.describe(0, [image("http://x/1", language="en"), image("http://x/2")])
    made.describe(1, [image("http://x/3", language="en"), image("http://x/4", language="ja")])
    assert "language" in made.stats().manifest.report.pictures
    assert made.summary().language == {"en": 2, "(none)": 1, "ja": 1}


def test_pictures_are_small_and_the_same_each_time(made: Described) -> None:
    made.describe(0, SECOND)
    pictures = made.stats().manifest.report.pictures
    for path in pictures.values():
        content = made.store.read_bytes(path)
        assert content.startswith(b"\x89PNG")
        assert len(content) < 150_000
    assert set(pictures) >= {"image size", "caption length", "clip_similarity_score"}


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5))


@given(summaries=st.lists(counts.map(lambda by: Summary(rows=sum(by.values()), domains=by))))
def test_the_order_of_partitions_does_not_matter(summaries: list[Summary]) -> None:
    assert total(summaries) == total(reversed(summaries))
    assert total(summaries).rows == sum(summary.rows for summary in summaries)


@given(every=counts, kept=st.integers(0, 7))
def test_rare_values_are_added_up(every: dict[str, int], kept: int) -> None:
    shown = frequent(every, kept)
    assert sum(shown.values()) == sum(every.values())
    assert len(shown) <= kept + 1
    assert frequent(shown, kept) == shown


def test_domains_of_a_large_partition_are_bounded() -> None:
    shown = frequent({f"host{number}": 1 for number in range(KEPT_VALUES + 5)}, KEPT_VALUES)
    assert shown[OTHER_VALUES] == 5


@pytest.mark.parametrize("content", [Summary(), Summary(rows=3, scores={"a": [1, 2]})])
def test_a_summary_survives_storage(content: Summary) -> None:
    assert Summary.parsed(content.content()) == content
