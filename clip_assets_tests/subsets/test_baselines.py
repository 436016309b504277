"""Subsets list what DataComp's baselines would, in DataComp's file format."""

import io
import itertools
import sys
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import layout, schemas, status
from clip_assets.errors import ConfigurationError
from clip_assets.graph import ASSETS
from clip_assets.layout import Key
from clip_assets.states import unfinished
from clip_assets.storage import sql
from clip_assets.subsets.methods.basic_filter import more_words_than
from clip_assets.subsets.subset_files import subsets
from clip_assets_tests.outcomes import Outcomes, Pair

SPACES = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
"""Every character at which ``str.split`` splits."""
STRANGE = "\0\x1b\x7f\u180e\u200b\u2060\ufeff\u0301e\u0301é\U0001d4b3👩\u200d👧\U0010ffff'\"\\%_"
"""Characters at which it does not, though they are unseen, no letter, or meant for SQL."""


def hex_uid(number: int) -> str:
    return f"{number:032x}"


def test_no_filter_lists_every_pair_with_an_image_sorted(made_anywhere: Outcomes) -> None:
    made_anywhere.add(0, [Pair(uid=hex_uid(n), status="success") for n in (9, 2**70, 3)])
    made_anywhere.add(1, [Pair(uid=hex_uid(5)), Pair(uid=hex_uid(4), status="failed_to_download")])
    made_anywhere.add(2, [])
    made_anywhere.metadata()
    manifest = made_anywhere.subset("no_filter")
    assert made_anywhere.uids("no_filter").tolist() == [(0, 3), (0, 5), (0, 9), (2**6, 0)]
    assert manifest.report.dropped == {"no_image": 1}
    assert (manifest.report.rows_in, manifest.report.rows_out) == (5, 4)


def test_a_subset_may_ask_for_no_image_as_datacomp_does(made: Outcomes) -> None:
    made.set(subsets={"pool": {"baseline": "no_filter", "with_image": False}})
    made.add(0, [Pair(uid=hex_uid(4), status="failed_to_download"), Pair(uid=hex_uid(2))])
    made.metadata()
    assert made.subset("pool").report.dropped == {}
    assert made.uids("pool").tolist() == [(0, 2), (0, 4)]
    made.subset("no_filter")
    assert made.uids("no_filter").tolist() == [(0, 2)]


def test_the_file_is_the_one_that_datacomp_saves(made: Outcomes) -> None:
    made.add(0, [Pair(uid=hex_uid(n << 60)) for n in (7, 1, 5, 5)])
    made.metadata()
    made.subset("no_filter")
    oracle = np.array(
        [(int(hex_uid(n << 60)[:16], 16), int(hex_uid(n << 60)[16:], 16)) for n in (7, 1, 5, 5)],
        np.dtype("u8,u8"),
    )
    oracle.sort()
    saved = io.BytesIO()
    np.save(saved, oracle)
    assert made.store.read_bytes(layout.subset("no_filter")) == saved.getvalue()


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
def test_basic_filter_has_datacomps_limits(
    made: Outcomes, change: dict[str, Any], reason: str | None
) -> None:
    made.add(0, [Pair(**change)])
    made.metadata()
    report = made.subset("basic_filter").report
    dropped = {rule: count for rule, count in report.dropped.items() if count}
    assert dropped == ({reason: 1} if reason else {})
    assert report.balances


def test_reserved_images_are_left_out_of_subsets_that_ask_for_it(made: Outcomes) -> None:
    opt_outs = [(), None, ("data_mining",), ("robots", "x_robots_tag")]
    made.add(0, [Pair(uid=hex_uid(n), opt_outs=told) for n, told in enumerate(opt_outs)])
    made.metadata()
    made.subset("no_filter")
    made.set(subsets={"free": {"baseline": "no_filter", "leave_out_opt_outs": True}})
    report = made.subset("free").report

    assert made.uids("free").tolist() == [(0, 0), (0, 1)]
    assert report.dropped == {"no_image": 0, "opt_out": 2}
    assert report.balances
    # The other subset is as it was, and the rule of this one is one of its inputs.
    assert subsets(made.pool, Key("no_filter")).reused
    made.set(subsets={"free": {"baseline": "no_filter"}})
    assert len(made.uids("free")) == 2
    made.subset("free")
    assert len(made.uids("free")) == 4


def datacomps(rows: list[dict[str, Any]]) -> tuple[set[str], dict[str, int]]:
    """Uids that pass the basic filter, and how many fail each rule first, by polars."""
    text = pl.col("text").fill_null("")
    sides = pl.col("original_width"), pl.col("original_height")
    least, greatest = pl.min_horizontal(*sides), pl.max_horizontal(*sides)
    rules = {
        "no_image": pl.col("status") == "success",
        "few_words": text.map_elements(lambda words: len(words.split()), pl.Int64) > 2,
        "few_characters": text.str.len_chars() > 5,
        "small_image": least >= 200,
        "long_image": greatest / least <= 3,
    }
    integers = dict.fromkeys(("original_width", "original_height"), pl.Int32)
    frame = pl.DataFrame(rows, schema_overrides=integers)
    dropped: dict[str, int] = {}
    for rule, passes in rules.items():
        kept = frame.filter(passes.fill_null(value=False))
        dropped[rule], frame = len(frame) - len(kept), kept
    return set(frame["uid"]), dropped


def test_basic_filter_keeps_what_polars_keeps_of_hostile_rows(made: Outcomes) -> None:
    letters = [*SPACES, *STRANGE, "é", "words"]
    captions = [None, "", " ", "one", "1 2 3", "1 2 34", "é é é"]
    captions += [
        f"{end}a{one}b{two}cd{end}" for one in letters for two in " x" for end in ("", one)
    ]
    sides = [None, 0, 199, 200, 600, 601, 2**31 - 1]
    sizes = list(itertools.product(sides, sides))
    rows = [(caption, *size) for caption in captions[:7] for size in sizes]
    rows += [(caption, 300, 300) for caption in captions]
    pairs = [
        Pair(caption, uid=hex_uid(n), width=width, height=height,
             status="success" if n % 13 else "failed_to_resize")
        for n, (caption, width, height) in enumerate(rows)
    ]  # fmt: skip
    key = made.add(0, pairs, per_shard=5000)
    made.metadata()
    uids, dropped = datacomps(made.rows(key))
    assert made.subset("basic_filter").report.dropped == dropped
    assert made.uids("basic_filter").tolist() == [
        (0, n) for n in range(len(rows)) if hex_uid(n) in uids
    ]
    assert all(dropped.values())
    assert uids


hostile = st.text(st.sampled_from(SPACES + STRANGE + "ab ") | st.characters(codec="utf-8"))


def judged(texts: list[str], count: int) -> list[bool]:
    """Whether each text has more words than that, by DuckDB."""
    with sql.connection(2**28) as database:
        rows = database.from_arrow(pa.table({"text": pa.array(texts, pa.string())}))
        return [more for (more,) in rows.project(more_words_than(count, "text")).fetchall()]


@given(texts=st.lists(hostile), count=st.integers(0, 4))
def test_words_are_those_of_pythons_split(texts: list[str], count: int) -> None:
    assert judged(texts, count) == [len(text.split()) > count for text in texts]


def test_each_of_pythons_spaces_divides_words() -> None:
    texts = [f"{space}a{space}{space}b{space}" for space in SPACES]
    assert judged(texts, 1) == [True] * len(SPACES)
    assert judged(texts, 2) == [False] * len(SPACES)


def test_partitions_without_metadata_are_named_and_left_out(made: Outcomes) -> None:
    ready, missing = made.add(0, [Pair()]), made.add(1, [Pair(caption="other words too")])
    made.metadata(ready)
    figures = made.subset("no_filter").report.figures
    assert (figures["partitions_used"], figures["partitions_missing"]) == ([ready], [missing])
    made.metadata()
    assert made.subset("no_filter").report.figures["partitions_used"] == [ready, missing]


def test_stale_metadata_is_used_and_named(made: Outcomes) -> None:
    key = made.add(0, [Pair()])
    made.metadata()
    made.shards(key, [Pair(width=100).named(0)])
    figures = made.subset("no_filter").report.figures
    assert (figures["partitions_used"], figures["partitions_stale"]) == ([key], [key])


def test_a_pool_without_metadata_has_an_empty_subset(made: Outcomes) -> None:
    assert made.subset("basic_filter").report.rows_out == 0
    assert made.uids("basic_filter").dtype == schemas.UID_PAIR


def test_unknown_names_are_refused(made: Outcomes) -> None:
    with pytest.raises(ConfigurationError, match="no_filter, basic_filter"):
        subsets(made.pool, Key("best"))


def test_a_subset_that_the_settings_name_is_made_and_shown(made: Outcomes) -> None:
    made.set(subsets={"mine": {"baseline": "basic_filter", "language": "any"}})
    made.add(0, [Pair(uid=hex_uid(7)), Pair(uid=hex_uid(8), caption="short")])
    made.metadata()
    assert unfinished(made.pool, [ASSETS[layout.SUBSETS]], "subset") == [
        "no_filter",
        "basic_filter",
        "mine",
    ]
    for name in ("no_filter", "mine"):
        made.subset(name)
    assert made.uids("mine").tolist() == [(0, 7)]
    assert made.uids("no_filter").tolist() == [(0, 7), (0, 8)]
    assert [o.path for o in made.pool.catalog.require(layout.SUBSETS, Key("mine")).outputs] == [
        layout.subset("mine")
    ]
    told = status.report(made.pool)
    assert told["subsets"] == {"no_filter": "done", "basic_filter": "missing", "mine": "done"}
    assert "subsets mine" in status.as_text(told)
    made.set(subsets={"mine": {"baseline": "no_filter"}})
    assert unfinished(made.pool, [ASSETS[layout.SUBSETS]], "subset") == ["basic_filter", "mine"]
    made.subset("mine")
    assert made.uids("mine").tolist() == [(0, 7), (0, 8)]
