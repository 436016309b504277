"""Each method of choosing, on made-up pools, against what plain Python says."""

import hashlib
import io
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model
from clip_assets.errors import (
    ConfigurationError,
    ModelMismatchError,
    SourceError,
    SourceFormatError,
    SourceMissingError,
)
from clip_assets.layout import Key
from clip_assets.settings import Settings
from clip_assets.storage.manifests import Manifest
from clip_assets.subsets import cuts, sorted_uids, sorting
from clip_assets.subsets.cuts import nth_greatest
from clip_assets.subsets.matched_rows import MatchedRows
from clip_assets.subsets.sorted_uids import SortedUids
from clip_assets.subsets.sorting import Sorter
from clip_assets.subsets.subset_files import subsets
from clip_assets_tests.outcomes import Outcomes, Pair
from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.servers import Hub

SCORES = [0.1, 0.3, None, 0.3, 0.25, 0.9, -0.2, float("nan"), 0.31, 0.05]
"""Of pair n; b32 has them backwards."""


def uid(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


@pytest.fixture
def made(made: Outcomes) -> Outcomes:
    """Ten pairs in two partitions; the last of them has no image."""
    pairs = [
        Pair(
            f"caption {n}",
            url=f"http://h/{n}.jpg",
            uid=uid(n),
            similarity=SCORES[n],
            b32=SCORES[-1 - n],
            width=100 * n,
            opt_outs=("robots",) if n == 1 else None,
            status="failed_to_download" if n == 9 else "success",
            is_cut=None if n > 5 else n < 4,
        )
        for n in range(10)
    ]
    made.add(0, pairs[:6])
    made.add(1, pairs[6:])
    made.metadata()
    return made


def chosen(made: Outcomes, definition: Any, **others: Any) -> list[int]:
    """Numbers of the pairs that a definition lists, each as often as it is listed."""
    manifest(made, definition, **others)
    numbers = {int(uid(n), 16): n for n in range(10)}
    return sorted(numbers[int(hi) << 64 | int(lo)] for hi, lo in made.uids("mine"))


def manifest(made: Outcomes, definition: Any, **others: Any) -> Manifest:
    made.set(subsets={"mine": definition, **others})
    return made.subset("mine")


@pytest.mark.parametrize(
    ("definition", "numbers"),
    [
        ({"baseline": "no_filter"}, "012345678"),
        ({"baseline": "no_filter", "with_image": False}, "0123456789"),
        ({"where": "original_width >= 300"}, "345678"),
        ({"where": "original_width >= 300", "with_image": False}, "3456789"),
        ({"where": "clip_similarity_score > 0.2", "leave_out_opt_outs": True}, "34578"),
        ({"baseline": "clip_score", "threshold": 0.3}, "1358"),
        ({"baseline": "clip_score", "arch": "b32", "threshold": 0.3}, "1468"),
        ({"by": "original_width", "fraction": 0.34}, "678"),
        ({"by": "original_width", "k": 2}, "78"),
        ({"baseline": "clip_score", "k": 2}, "58"),
        ({"baseline": "clip_score", "k": 3}, "1358"),
        ({"baseline": "clip_score", "k": 100}, "0134568"),
        ({"union": [{"where": "original_width < 200"}, {"where": "text LIKE '%5'"}]}, "015"),
        ({"intersection": ["wide", "good"]}, "358"),
        ({"difference": ["wide", "good"]}, "467"),
        ({"difference": ["wide", "good", {"where": "original_width = 600"}]}, "47"),
        ({"of": "wide", "baseline": "clip_score", "fraction": 0.5}, "358"),
        ({"of": {"of": "wide", "where": "original_width > 300"}, "where": "true"}, "45678"),
        ({"sample": 0}, ""),
        ({"sample": 1}, "012345678"),
    ],
)
def test_a_definition_chooses(made: Outcomes, definition: dict[str, Any], numbers: str) -> None:
    others = {
        "wide": {"where": "original_width >= 300"},
        "good": {"baseline": "clip_score", "threshold": 0.3},
    }
    assert chosen(made, definition, **others) == [*map(int, numbers)]
    report = made.pool.catalog.require(layout.SUBSETS, Key("mine")).report
    assert report.balances
    assert (report.rows_in, report.rows_out) == (10, len(numbers))


@pytest.mark.parametrize("fraction", [0, 0.05, 0.29, 0.3, 0.7, 0.99, 1])
@pytest.mark.parametrize("datacomp_compat", [False, True])
def test_a_fraction_is_taken_as_said(
    made: Outcomes, fraction: float, *, datacomp_compat: bool
) -> None:
    definition = {
        "baseline": "clip_score",
        "fraction": fraction,
        "with_image": False,
        "datacomp_compat": datacomp_compat,
    }
    if datacomp_compat and fraction == 1:
        with pytest.raises(ValidationError, match="DataComp's script fails"):
            chosen(made, definition)
        return
    scores = np.array([np.nan if s is None else s for s in SCORES], np.float32)
    scores[9] = np.nan  # without an image
    count = int(round(10 * fraction, 6))
    in_order = -np.sort(-scores)
    if datacomp_compat:  # its own lines
        expected = np.flatnonzero(scores >= in_order[count])
    else:
        least = in_order[min(count, 7) - 1] if count else np.inf
        expected = np.flatnonzero(scores >= least)
    assert chosen(made, definition) == expected.tolist()


def test_what_was_found_is_told(made: Outcomes) -> None:
    report = manifest(made, {"baseline": "clip_score", "fraction": 0.34}).report
    assert report.figures["definition"] == {"baseline": "clip_score", "fraction": 0.34}
    assert report.figures["clip_similarity_score"] == {
        "candidates": 9,
        "with_score": 7,
        "threshold": pytest.approx(0.3),
        "percentile": pytest.approx(42.8571),
        "kept": 4,
        "kept_share": pytest.approx(0.444444),
    }
    assert report.dropped == {"no_image": 1, "no_score": 2, "low_score": 3}
    (picture,) = report.pictures.values()
    assert made.store.read_bytes(picture).startswith(b"\x89PNG")
    # The next version says what became of the uids.
    report = manifest(made, {"baseline": "clip_score", "threshold": 0.26}).report
    assert report.figures["before"]["removed_uids"] == 0
    report = manifest(made, {"where": "original_width < 200"}).report
    assert {**report.figures["before"], "sha256": 0} == {
        "sha256": 0, "added_uids": 1, "removed_uids": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ({"baseline": "clip_score", "threshold": 0.3}, {"listed": 2, "not_listed": 2}),
        ({"by": "clip_similarity_score", "k": 1}, {"listed": 0, "not_listed": 4}),
        ({"of": {"baseline": "clip_score", "k": 3}, "sample": 1}, {"listed": 2, "not_listed": 2}),
        ({"baseline": "clip_score", "arch": "b32", "threshold": 0.3}, None),
        ({"by": "original_width", "k": 3}, None),
    ],
)
def test_captions_that_the_model_cuts_are_told_where_it_is_asked(
    made: Outcomes, definition: dict[str, Any], told: dict[str, int] | None
) -> None:
    report = manifest(made, definition).report
    of_others = sum(n > 5 for n in chosen(made, definition))
    expected = told and {**told, "listed_not_known": of_others}
    assert report.figures.get("captions cut") == expected


def test_pairs_whose_captions_are_whole_are_chosen(made: Outcomes) -> None:
    assert chosen(made, {"where": "is_caption_cut IS NOT TRUE"}) == [4, 5, 6, 7, 8]


def test_scores_of_one_name_are_told_apart(made: Outcomes, tmp_path: Path) -> None:
    parts = [{"baseline": "clip_score", "threshold": least} for least in (0.3, 0.8)]
    report = manifest(made, {"union": parts}).report
    kept = [report.figures[f"clip_similarity_score{which}"]["kept"] for which in ("", " (2)")]
    assert kept == [4, 1]
    assert len(set(report.pictures.values())) == 2
    table = pa.table({"uid": [uid(n) for n in range(10)], "a/b": pa.array([*range(10)])})
    pq.write_table(table, file := tmp_path / "s.parquet")
    assert chosen(made, {"scores": str(file), "column": "a/b", "threshold": 7}) == [7, 8]


def test_a_threshold_that_keeps_nothing_is_an_empty_subset(made: Outcomes) -> None:
    assert chosen(made, {"baseline": "clip_score", "threshold": 2}) == []
    assert made.uids("mine").dtype == schemas.UID_PAIR


def test_a_pool_without_scores_keeps_nothing(made: Outcomes) -> None:
    assert chosen(made, {"baseline": "clip_score", "arch": "l14", "fraction": 1}) == []


def test_a_sample_stays_drawn_and_has_its_share(made: Outcomes) -> None:
    first = chosen(made, {"sample": 0.5, "seed": 3})
    assert chosen(made, {"sample": 0.5, "seed": 3, "with_image": False})[: len(first)] == first
    assert set(chosen(made, {"sample": 0.3, "seed": 3})) <= set(first)
    made.add(
        2,
        [Pair(uid=f"{n * 2**90:032x}", url=f"http://h/x{n}") for n in range(4000)],
        per_shard=4000,
    )
    made.metadata()
    counts = [manifest(made, {"sample": 0.25, "seed": seed}).report.rows_out for seed in range(3)]
    assert all(900 < count < 1100 for count in counts)
    assert len(set(counts)) > 1


@pytest.mark.parametrize(
    ("definition", "fault"),
    [
        ({"where": "widht > 3"}, "perhaps"),
        ({"by": "text", "fraction": 0.1}, "a column without numbers"),
        ({"by": "clip_score", "fraction": 0.1}, "no such column.*perhaps clip_"),
        ({"uids": "/no/such.txt"}, "/no/such.txt"),
        ({"from": "/no/such.npy"}, "/no/such.npy"),
        ({"scores": "/no/such.parquet", "fraction": 1}, "/no/such.parquet"),
    ],
)
def test_what_cannot_be_chosen_by_is_named(
    made: Outcomes, definition: dict[str, Any], fault: str
) -> None:
    with pytest.raises((ConfigurationError, SourceError), match=fault):
        chosen(made, definition)


@pytest.mark.parametrize(
    ("definitions", "fault"),
    [
        ({"a": {"of": "a", "sample": 1}}, "a -> a: a subset cannot be made of itself"),
        ({"a": {"union": ["b"]}, "b": {"of": {"union": ["a"]}, "sample": 1}}, "a -> b -> a"),
        ({"a": {"union": ["no_fliter"]}}, "nearest is no_filter"),
        ({"a": {"union": []}}, "at least 1 item"),
        ({"a": {"baseline": "best"}}, "needs one of baseline"),
        ({"a": {"baseline": "clip_score"}}, "either threshold or fraction"),
        ({"a": {"by": "x", "fraction": 1, "threshold": 1}}, "either threshold or fraction"),
        ({"a": {"by": "x", "fraction": 1.1}}, "less than or equal to 1"),
        ({"a": {"by": "x", "threshold": float("nan")}}, "finite number"),
        ({"a": {"where": "true", "sample": 1}}, "Extra inputs"),
        (
            {f"s{n}": {"of": f"s{n + 1}", "sample": 1} for n in range(60)}
            | {"s60": {"sample": 1}},
            "more than 50",
        ),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_are_refused(definitions: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Settings(subsets=definitions)


def test_a_subset_is_stale_when_what_it_names_changed(made: Outcomes, tmp_path: Path) -> None:
    (listed := tmp_path / "uids.txt").write_text(uid(1))
    definition = {"of": "other", "sample": 1}
    assert chosen(made, definition, other={"uids": str(listed)}) == [1]
    assert subsets(made.pool, Key("mine")).reused
    listed.write_text(f"{uid(1)}\n{uid(3)}\n")
    assert chosen(made, definition, other={"uids": str(listed)}) == [1, 3]
    assert chosen(made, definition, other={"where": "original_width = 200"}) == [2]


def test_lists_of_uids_and_urls(made: Outcomes, tmp_path: Path) -> None:
    (file := tmp_path / "list.txt").write_text(
        f"\ufeff{uid(7).upper()}\r\n\n{uid(2)}\n{uid(2)}\n{uid(12)}"
    )
    report = manifest(made, {"uids": str(file)}).report
    assert report.figures[str(file)] == {"listed": 3, "not_in_the_pool": 1}
    assert chosen(made, {"uids": str(file)}) == [2, 7]
    file.write_text("http://h/3.jpg\nhttp://h/33.jpg\n")
    assert chosen(made, {"urls": str(file)}) == [3]
    for wrong in ("url,caption", "http://h/3.jpg\tthree"):
        file.write_text(f"http://h/3.jpg\n{wrong}\n")
        with pytest.raises(SourceFormatError, match=r"line 2: found .*, expected a url"):
            chosen(made, {"urls": str(file)})
    for wrong in (uid(1)[:31], f"{uid(1)}0", "z" * 32, f"{uid(1)[:30]}  x", "0x" + uid(1)[:30]):
        file.write_text(f"{uid(2)}\n{wrong}\n")
        with pytest.raises(SourceFormatError, match="line 2"):
            chosen(made, {"uids": str(file)})


def pairs(numbers: list[int]) -> npt.NDArray[np.void]:
    digits = [uid(n) for n in numbers]
    return np.array([(int(d[:16], 16), int(d[16:], 16)) for d in digits], np.dtype("u8,u8"))


@pytest.mark.parametrize("dtype", ["<u8,<u8", ">u8,>u8"])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_a_published_subset_is_adopted(
    made: Outcomes, tmp_path: Path, dtype: str, *, is_sorted: bool
) -> None:
    listed = np.sort(pairs([3, 8, 8, 20, 5, 9]))
    np.save(file := tmp_path / "a.npy", (listed if is_sorted else listed[::-1]).astype(dtype))
    report = manifest(made, {"from": str(file)}).report
    assert report.figures[str(file)] == {
        "listed": 5,
        "not_in_the_pool": 1,
        "rows": 6,
        "was_sorted": is_sorted,
    }
    assert chosen(made, {"from": str(file)}) == [3, 5, 8, 8]
    (bare := tmp_path / "a.memmap").write_bytes(listed.astype("<u8,<u8").tobytes())
    assert chosen(made, {"from": str(bare)}) == [3, 5, 8, 8]
    bare.write_bytes(bare.read_bytes()[:-1])
    with pytest.raises(SourceFormatError, match="uids as DataComp has them"):
        chosen(made, {"from": str(bare)})
    assert (report.rows_out, report.figures["listed_uids"]) == (3, 4)


def test_what_lies_on_a_hub_is_adopted(made: Outcomes, hub: Hub) -> None:
    np.save(listed := io.BytesIO(), pairs([3, 8, 20]))
    table = pa.table({"uid": [uid(n) for n in (5, 3, 30)], "dfn": [0.5, 0.9, 1.0]})
    pq.write_table(table, scores := io.BytesIO())
    files = {"medium/kept.npy": listed.getvalue(), "scores.parquet": scores.getvalue()}
    hub.files["we/filters"] = files
    place = "hf://datasets/we/filters"
    told = {"listed": 3, "not_in_the_pool": 1}
    published = {"from": f"{place}/medium/kept.npy"}
    assert chosen(made, published) == [3, 8]
    figures = manifest(made, published).report.figures[published["from"]]
    assert {*figures.items()} >= {*told.items()}
    scored = {"scores": f"{place}/scores.parquet", "column": "dfn", "k": 1}
    assert chosen(made, scored) == [3]
    assert manifest(made, scored).report.figures[scored["scores"]] == told
    with pytest.raises(SourceMissingError, match=r"we/filters/large\.npy"):
        chosen(made, {"from": f"{place}/large.npy"})


@pytest.mark.parametrize(
    "content",
    [np.zeros(3), np.zeros((2, 2), "u8"), np.zeros(3, "u4,u4"), np.zeros(3, "i8,i8"), b"", b"x"],
)
def test_what_is_no_published_subset_is_refused(
    made: Outcomes, tmp_path: Path, content: Any
) -> None:
    file = tmp_path / "a.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(SourceFormatError, match="uids as DataComp has them"):
        chosen(made, {"from": str(file)})


def test_published_scores_choose(made: Outcomes, tmp_path: Path) -> None:
    numbers = [5, 3, 30, 1, 7, 3]
    scores = [0.5, 0.9, 1.0, float("nan"), 0.7, 0.1]
    table = pa.table({"uid": [uid(n) for n in numbers], "dfn": pa.array(scores, pa.float32())})
    pq.write_table(table, file := tmp_path / "s.parquet")
    definition = {"scores": str(file), "column": "dfn"}
    assert chosen(made, definition | {"threshold": 0.6}) == [3, 7]
    assert chosen(made, definition | {"fraction": 0.23}) == [3, 7]
    report = manifest(made, definition | {"fraction": 1}).report
    assert report.figures[str(file)] == {"listed": 5, "not_in_the_pool": 1}
    for wrong in ({"scores": str(file)}, definition | {"column": "uid"}):
        with pytest.raises(SourceFormatError, match="a parquet with uid"):
            chosen(made, wrong | {"fraction": 1})
    pq.write_table(table.drop_columns(["uid"]), file)
    with pytest.raises(SourceFormatError, match="a parquet with uid"):
        chosen(made, definition | {"fraction": 1})
    pq.write_table(table.set_column(0, "uid", pa.array([uid(1)[:31]] * 6)), file)
    with pytest.raises(SourceFormatError, match="32 hex digits"):
        chosen(made, definition | {"fraction": 1})


B32 = ModelIdentity("ViT-B-32", "openai", "b" * 64, "resize", 512, "fp32")


def test_scores_of_another_model_are_refused_where_their_model_is_known(
    made: Outcomes, tmp_path: Path
) -> None:
    own = {"baseline": "clip_score", "threshold": 0.3}
    assert chosen(made, own | {"model": "demo"}) == [1, 3, 5, 8]  # it is not known
    claim_model(made.store, B32)
    made.set(inference={"model": "ViT-B-32", "pretrained": "openai"})
    assert manifest(made, own).report.figures["clip_similarity_score"]["model"] == "ViT-B-32/openai"
    assert chosen(made, own | {"model": "ViT-B-32/openai"}) == [1, 3, 5, 8]
    with pytest.raises(ModelMismatchError, match="scores by demo, as the definition says"):
        chosen(made, own | {"model": "demo"})
    by_other = {"by": "clip_l14_similarity_score", "fraction": 1, "model": "ViT-B-32/openai"}
    with pytest.raises(ModelMismatchError, match="scores by ViT-L-14/openai"):
        chosen(made, by_other)
    # The settings name another model than the pool's.
    made.set(inference={"model": "ViT-B-16"})
    for definition in (own, {"by": "clip_similarity_score", "k": 1}):
        with pytest.raises(ModelMismatchError, match=r"by ViT-B-32/openai.*ViT-B-16/openai, the"):
            chosen(made, definition)
    assert chosen(made, {"by": "original_width", "k": 1}) == [8]
    assert chosen(made, {"baseline": "clip_score", "arch": "b32", "k": 1}) == [4]


def test_published_scores_can_say_whose_they_are(made: Outcomes, tmp_path: Path) -> None:
    table = pa.table({"uid": [uid(n) for n in range(10)], "dfn": pa.array(range(10))})
    told = {"clip_assets.models": '{"dfn": "DFN", "other": 7}'}
    pq.write_table(table.replace_schema_metadata(told), file := tmp_path / "s.parquet")
    definition = {"scores": str(file), "column": "dfn", "threshold": 7}
    assert chosen(made, definition | {"model": "DFN"}) == [7, 8]
    assert manifest(made, definition).report.figures["dfn"]["model"] == "DFN"
    with pytest.raises(ModelMismatchError, match=r"by DFN.*by DFN-2"):
        chosen(made, definition | {"model": "DFN-2"})
    for silent in ("[]", "{", '{"other": "x"}', '{"dfn": 1}'):
        pq.write_table(table.replace_schema_metadata({"clip_assets.models": silent}), file)
        assert chosen(made, definition | {"model": "DFN-2"}) == [7, 8]
        assert "model" not in manifest(made, definition).report.figures["dfn"]


floats = st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, -0.0, 0.3, -0.3])


@given(scores=st.lists(floats, min_size=1, max_size=40), data=st.data())
def test_the_nth_greatest_is_that_of_a_sort(scores: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(scores) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "CHUNK_ROWS", 7)
        patch.setattr(cuts, "MEMORY_ROWS", data.draw(st.sampled_from([0, 40])))
        assert nth_greatest(np.array(scores), place) == sorted(scores, reverse=True)[place]


@given(
    stored=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20),
    block=st.integers(1, 9),
)
def test_sorted_uids_are_found(
    stored: list[tuple[int, int]], asked: list[tuple[int, int]], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_uids, "BLOCK_ROWS", block)
        records = np.array(sorted(stored), np.dtype("u8,u8"))
        places, times = SortedUids(records).find(np.array(asked, np.dtype("u8,u8")))
        counts = Counter(stored)
        assert times.tolist() == [counts[pair] for pair in asked]
        assert [p for p, t in zip(places.tolist(), times, strict=True) if t] == [
            sorted(stored).index(pair) for pair in asked if counts[pair]
        ]
        assert sorted_uids.is_sorted(records)
        assert sorted_uids.distinct(records) == len(counts)
        assert sorted_uids.is_sorted(records[::-1]) == (stored == stored[:1] * len(stored))


@given(
    listed=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=40),
    asked=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=9), max_size=5
    ),
    block=st.integers(1, 9),
    memory=st.integers(1, 30),
)
def test_rows_of_all_pieces_are_matched_in_one_pass(
    listed: list[tuple[int, int]], asked: list[list[tuple[int, int]]], block: int, memory: int
) -> None:
    pieces = {str(n): pa.table({"hi": [a for a, _ in own], "lo": [b for _, b in own]})
              for n, own in enumerate(asked)}  # fmt: skip
    record = np.dtype([("f0", ">u8"), ("f1", ">u8"), ("score", "<f8")])
    records = np.array([(*pair, n) for n, pair in enumerate(sorted(listed))], record)

    def pairs_of(table: pa.Table) -> npt.NDArray[np.void]:
        return np.array([*zip(*table.to_pydict().values(), strict=True)], np.dtype("u8,u8"))

    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(sorted_uids, "BLOCK_ROWS", block)
        patch.setattr(sorting, "MEMORY_ROWS", memory)
        selection: Any = SimpleNamespace(
            new_folder=lambda: Path(folder), tables=lambda _: pieces.items()
        )
        matches = MatchedRows(selection, SortedUids(records), [], pairs_of, "score")
        counts = Counter(listed)
        for piece, own in enumerate(asked):
            assert matches.times(str(piece), len(own)).tolist() == [counts[pair] for pair in own]
            found = matches.of(str(piece))[::-1]
            firsts = dict(zip(found["row"].tolist(), found["value"].tolist(), strict=True))
            assert firsts == {
                row: sorted(listed).index(pair) for row, pair in enumerate(own) if counts[pair]
            }
        there = {pair for own in asked for pair in own} & {*listed}
        told = matches.told("it").facts["it"]
        assert told == {"listed": len(counts), "not_in_the_pool": len(counts) - len(there)}


def test_an_empty_subset_can_be_adopted(made: Outcomes, tmp_path: Path) -> None:
    np.save(file := tmp_path / "none.npy", pairs([]))
    assert chosen(made, {"from": str(file)}) == []
    pq.write_table(pa.table({"uid": pa.array([], pa.string()), "score": pa.array([], "f4")}), file)
    assert chosen(made, {"scores": str(file), "fraction": 1}) == []
    file.write_text("")
    assert chosen(made, {"uids": str(file)}) == []


@pytest.mark.parametrize("memory", [1000, 10_000])
def test_uids_that_are_divided_are_sorted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(sorting, "BLOCK_ROWS", 100)
    monkeypatch.setattr(sorting, "MEMORY_ROWS", memory)
    numbers = np.random.default_rng(0).integers(0, 2**64, (5000, 2), np.uint64)
    numbers[::7] = numbers[3]
    records = np.empty(5000, np.dtype([("f0", "u8"), ("f1", "u8"), ("place", "u8")]))
    records["f0"], records["f1"], records["place"] = *numbers.T, np.arange(5000)
    sorter = Sorter(tmp_path, records.dtype)
    for start in range(0, 5000, 300):
        sorter.add(records[start : start + 300])
    blocks = list(sorter.blocks())
    assert len(blocks) > 200
    assert any(tmp_path.rglob("*")) == (memory < len(records))
    assert np.array_equal(np.concatenate(blocks), np.sort(records))  # equal uids as they came


def test_versions_of_a_large_subset_are_compared(
    made: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "MEMORY_ROWS", 2)
    monkeypatch.setattr(sorting, "BLOCK_ROWS", 2)
    first = chosen(made, {"where": "original_width >= 300"})
    report = manifest(made, {"where": "original_width < 500"}).report
    assert first == [3, 4, 5, 6, 7, 8]
    assert {**report.figures["before"], "sha256": 0} == {
        "sha256": 0, "added_uids": 3, "removed_uids": 4,
    }  # fmt: skip


NOT_HERE = "/data|queries|vectors|entries|pick|density|_based|laion2b|fasttext"
"""Of a definition: what a pool without vectors, and a machine without these files, cannot make."""


def test_examples_of_the_page_are_definitions(made: Outcomes) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "docs/subsets.md").read_text(), re.DOTALL)
    assert len(blocks) > 2
    for block in blocks:
        definitions = yaml.safe_load(block)["subsets"]
        made.set(subsets=definitions)
        for name, definition in definitions.items():
            of = definition.get("of")
            told = str(definition) + str(definitions.get(of) if isinstance(of, str) else "")
            if not re.search(NOT_HERE, told):
                assert made.subset(name).report.rows_in == 10
