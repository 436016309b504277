"""Lists of faiss' own files are joined as faiss would join them, and damage is noticed."""

import tracemalloc
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import CheckFailedError, SchemaError
from clip_assets.index.engine import ann, lists
from clip_assets.index.engine.lists import Lists
from clip_assets_tests.vectors import Floats, unit_rows

DIM = 16
SAMPLE = unit_rows(0, 800, DIM)
KINDS = [
    "IVF8,Flat",
    "IVF8,SQ8",
    "IVF8,PQ4",
    "RR16,IVF8,RaBitQ",
    "RR16,IVF8,RaBitQ4",
    "P8,RR8,IVF8,PQ4",
]
EMPTY = {key: ann.trained(key, DIM, SAMPLE) for key in KINDS}


def written(folder: Path, key: str, rows: Floats, name: str = "segment") -> Lists:
    """A segment of some vectors."""
    segment = faiss.clone_index(EMPTY[key])
    ann.add(segment, rows)
    file = folder / name
    ann.write(segment, file)
    return lists.read(file, ann.head(EMPTY[key], len(rows)), name)


def joined(folder: Path, key: str, parts: list[tuple[Lists, int]]) -> ann.Index:
    file = folder / "joined"
    lists.join(file, ann.head(EMPTY[key], sum(int(p.sizes.sum()) for p, _ in parts)), parts)
    return ann.read(file, "joined", mapped=True)


@pytest.mark.parametrize("key", KINDS)
def test_joined_files_are_those_of_an_index_with_all_vectors(tmp_path: Path, key: str) -> None:
    first, second = unit_rows(1, 300, DIM), unit_rows(2, 41, DIM)
    parts = [(written(tmp_path, key, first, "a"), 0), (written(tmp_path, key, second, "b"), 300)]
    joined(tmp_path, key, parts)
    whole = faiss.clone_index(EMPTY[key])
    ann.add(whole, np.concatenate([first, second]))
    ann.write(whole, tmp_path / "whole")
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()


@settings(max_examples=25)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=6), gap=st.integers(0, 50))
def test_every_vector_is_found_under_its_new_id(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], gap: int
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    starts = np.cumsum([gap, *(count + gap for count in counts[:-1])])
    rows = [unit_rows(7 + place, count, DIM) for place, count in enumerate(counts)]
    parts = [
        (written(folder, "IVF8,Flat", own, str(place)), int(start))
        for place, (own, start) in enumerate(zip(rows, starts, strict=True))
    ]
    index = joined(folder, "IVF8,Flat", parts)
    wanted = np.concatenate(
        [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
    )
    if not len(wanted):
        assert index.ntotal == 0
        return
    _, ids = ann.search(index, np.concatenate(rows), 1, gap=2.0)
    assert ids[:, 0].tolist() == wanted.tolist()


def test_blocks_do_not_change_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [(written(tmp_path, "IVF8,SQ8", unit_rows(1, 200, DIM), "a"), 5)]
    joined(tmp_path, "IVF8,SQ8", parts)
    whole = (tmp_path / "joined").read_bytes()
    monkeypatch.setattr(lists, "BLOCK_BYTES", 100)
    joined(tmp_path, "IVF8,SQ8", parts)
    assert (tmp_path / "joined").read_bytes() == whole


def test_joining_holds_a_block_and_never_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = unit_rows(1, 20_000, DIM)
    parts = [(written(tmp_path, "IVF8,Flat", rows, name), len(rows) * int(name)) for name in "012"]
    head = ann.head(EMPTY["IVF8,Flat"], 3 * len(rows))
    monkeypatch.setattr(lists, "BLOCK_BYTES", longest := 3 * 72 * int(parts[0][0].sizes.max()))
    tracemalloc.start()
    lists.join(tmp_path / "joined", head, parts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "joined").stat().st_size > 3 * longest
    # A block, and the ids of one list of one file.
    assert most < 1.5 * longest


def test_joining_many_files_holds_no_more_than_the_lengths_of_their_lists(tmp_path: Path) -> None:
    count, nothing = 20_000, np.zeros((2, 20_000), np.int64)
    segments = [(Lists("empty", 8, *nothing, np.empty(0, np.uint8)), 0)] * 50
    tracemalloc.start()
    lists.join(tmp_path / "joined", b"", segments)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 8 * count


def test_lists_that_are_none_of_the_index_are_refused(tmp_path: Path) -> None:
    file, head = tmp_path / "segment", ann.head(EMPTY["IVF8,Flat"], 1)
    beyond = np.array([2, 99, 1], np.int64).tobytes()  # two numbers: of list 99 there is one vector
    for content in (b"", head + lists.no_lists(8, 64)[:-8] + beyond):
        file.write_bytes(content)
        with pytest.raises(SchemaError, match="cut off or damaged"):
            lists.read(file, head, "segment")


def test_other_training_is_refused(tmp_path: Path) -> None:
    other = ann.trained("IVF8,Flat", DIM, SAMPLE[::-1])
    written(tmp_path, "IVF8,Flat", unit_rows(1, 9, DIM))
    with pytest.raises(SchemaError, match="trained on other vectors"):
        lists.read(tmp_path / "segment", ann.head(other, 9), "segment")


@pytest.mark.parametrize("cut", [1, 8, 300])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    written(tmp_path, "IVF8,Flat", unit_rows(1, 20, DIM))
    file = tmp_path / "segment"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(SchemaError, match="segment: found a file that is cut off"):
        lists.read(file, ann.head(EMPTY["IVF8,Flat"], 20), "segment")


def test_an_id_that_is_there_twice_is_noticed(tmp_path: Path) -> None:
    segment = written(tmp_path, "IVF8,Flat", unit_rows(1, 20, DIM))
    segment.check_ids()
    twice = np.array(segment.content)
    number = int(np.argmax(segment.sizes))
    start = int(segment.starts[number] + segment.sizes[number] * segment.code_size)
    twice[start : start + 8] = twice[start + 8 : start + 16]
    damaged = Lists("segment", segment.code_size, segment.sizes, segment.starts, twice)
    with pytest.raises(CheckFailedError, match="20 ids, 19 of them distinct"):
        damaged.check_ids()
