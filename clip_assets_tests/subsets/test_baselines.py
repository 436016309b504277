"""Subsets list what DataComp's baselines would, in DataComp's file format."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError
from clip_assets.subsets.baselines import WORD, subset


def hex_uid(number: int) -> str:
    return f"{number:032x}"


def test_no_filter_lists_every_pair_with_an_image_sorted(any_pool, pair) -> None:
    any_pool.add(0, [pair(uid=hex_uid(n), status="success") for n in (9, 2**70, 3)])
    any_pool.add(1, [pair(uid=hex_uid(5)), pair(uid=hex_uid(4), status="failed_to_download")])
    any_pool.metadata()
    manifest = any_pool.subset("no_filter")
    assert any_pool.uids("no_filter").tolist() == [(0, 3), (0, 5), (0, 9), (2**6, 0)]
    assert manifest.report.dropped == {"no_image": 1}
    assert (manifest.report.rows_in, manifest.report.rows_out) == (5, 4)


def test_the_file_is_the_one_that_datacomp_saves(pool, pair) -> None:
    pool.add(0, [pair(uid=hex_uid(n << 60)) for n in (7, 1, 5, 5)])
    pool.metadata()
    pool.subset("no_filter")
    oracle = np.array(
        [(int(hex_uid(n << 60)[:16], 16), int(hex_uid(n << 60)[16:], 16)) for n in (7, 1, 5, 5)],
        np.dtype("u8,u8"),
    )
    oracle.sort()
    saved = io.BytesIO()
    np.save(saved, oracle)
    assert pool.store.read_bytes(layout.subset("no_filter")) == saved.getvalue()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"caption": "three words here"}, None),
        ({"caption": "two words"}, "few_words"),
        ({"caption": None}, "few_words"),
        ({"caption": "a b c"}, "few_characters"),
        ({"caption": "a b cd"}, None),
        ({"width": 200, "height": 600}, None),
        ({"width": 200, "height": 601}, "long_image"),
        ({"width": 199, "height": 300}, "small_image"),
        ({"width": 0, "height": 0}, "small_image"),
        ({"width": None, "height": None}, "small_image"),
        ({"status": "failed_to_download", "caption": "x"}, "no_image"),
    ],
)
def test_basic_filter_has_datacomps_limits(pool, pair, change, reason) -> None:
    pool.add(0, [pair(**change)])
    pool.metadata()
    report = pool.subset("basic_filter").report
    dropped = {rule: count for rule, count in report.dropped.items() if count}
    assert dropped == ({reason: 1} if reason else {})
    assert report.balances


@given(
    st.text(alphabet=st.sampled_from("ab \t\n\x0b\x1c\x1f\x85\xa0\u2003\u200b\u3000é"), max_size=12)
)
def test_words_are_those_of_pythons_split(text: str) -> None:
    import polars as pl

    counted = pl.Series([text]).str.count_matches(WORD).to_list()
    assert counted == [len(text.split())]


def test_partitions_without_metadata_are_named_and_left_out(pool, pair) -> None:
    ready, missing = pool.add(0, [pair()]), pool.add(1, [pair(caption="other words too")])
    pool.metadata(ready)
    figures = pool.subset("no_filter").report.figures
    assert (figures["partitions_used"], figures["partitions_missing"]) == ([ready], [missing])
    pool.metadata()
    assert pool.subset("no_filter").report.figures["partitions_used"] == [ready, missing]


def test_stale_metadata_is_used_and_named(pool, pair) -> None:
    key = pool.add(0, [pair()])
    pool.metadata()
    pool.shards(key, [pair(width=100).named(0)], 3)
    figures = pool.subset("no_filter").report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([key], [key])


def test_a_pool_without_metadata_has_an_empty_subset(pool) -> None:
    assert pool.subset("basic_filter").report.rows_out == 0
    assert pool.uids("basic_filter").dtype == schemas.UID_PAIR


def test_unknown_names_are_refused(pool) -> None:
    with pytest.raises(ConfigurationError, match="no_filter, basic_filter"):
        subset(pool.catalog, "best", pool.partitions)
