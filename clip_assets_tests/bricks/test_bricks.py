"""Bricks do what the stages do, a fault is a row, and nobody runs ahead of who takes."""

import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import bricks, layout
from clip_assets.bricks import Datum, run
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets_tests.bricks.conftest import PICTURES, SETTINGS, Shelf
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.streaming.conftest import Streamed, uid_of
from clip_assets_tests.threads import left_over


def pictures(count: int) -> Generator[Datum]:
    for number in range(count):
        image = encoded(draw(number)) if number % 5 else b"no image"
        yield Datum(str(number), f"caption {number}", {"uid": f"{number:032x}"}, image)


def test_a_downloader_has_a_row_for_every_url(shelf: Shelf, tmp_path: Path) -> None:
    downloader = (
        bricks.from_table(str(shelf.table))
        | bricks.Fetch(SETTINGS)
        | bricks.Resize(SETTINGS)
        | bricks.ToTars(str(tmp_path / "out"), shard=15)
    )
    outcomes = run(downloader)
    assert (outcomes.data, outcomes.faults) == (42, Counter(http_404=1, not_an_image=1))
    tables = [pq.read_table(file) for file in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [len(table) for table in tables] == [15, 15, 12]
    rows = [row for table in tables for row in table.to_pylist()]
    assert Counter(row["status"] for row in rows) == {"success": PICTURES} | outcomes.faults
    for row in rows:
        told = f"{row['url']}\x1f{row['caption']}".encode()
        assert row["uid"] == hashlib.md5(told).hexdigest()
        assert row["licence"] == "by"
    samples = list(bricks.from_tars(str(tmp_path / "out")))
    kept = {row["key"]: row for row in rows if row["status"] == "success"}
    assert {sample.key for sample in samples} == {*kept}
    for sample in samples:
        row = kept[sample.key]
        assert sample.caption == row["caption"]
        assert (sample.fields["width"], sample.fields["height"]) == (row["width"], row["height"])
        assert 64 in (row["width"], row["height"])
        # The picture is that of its caption, however the answers were mixed.
        number = int(row["caption"].split()[1])
        sent = shelf.site.files[f"/{number}.jpg"]
        assert row["sha256"] == hashlib.sha256(sent).hexdigest()


def test_embedding_in_one_pass_gives_the_vectors_of_two(
    shelf: Shelf, tmp_path: Path, encoder: Encoder
) -> None:
    out, one, two = (str(tmp_path / name) for name in ("out", "one", "two"))
    embed = bricks.Embed(encoder, piece=16) | bricks.Scorer()
    fused = (
        bricks.from_table(str(shelf.table))
        | bricks.Fetch(SETTINGS)
        | bricks.Resize(SETTINGS)
        | bricks.ToTars(out)
        | embed
        | bricks.ToVectors(one, rows=25)
        | bricks.ToTable(f"{one}/rows.parquet")
    )
    assert run(fused).data == PICTURES + 2
    run(bricks.from_tars(out) | embed | bricks.ToVectors(two))
    first = {datum.uid: datum for datum in bricks.from_vectors(one)}
    second = {datum.uid: datum for datum in bricks.from_vectors(two)}
    assert len(first) == PICTURES
    assert first.keys() == second.keys()
    for uid, datum in first.items():
        for side in layout.SIDES:
            np.testing.assert_allclose(
                datum.vectors[side].astype(float),
                second[uid].vectors[side].astype(float),
                atol=2e-3,
            )
        cosine = datum.vectors["image"].astype(float) @ datum.vectors["text"].astype(float)
        assert abs(datum.fields["similarity"] - cosine) < 1e-3
    rows = pq.read_table(f"{one}/rows.parquet").to_pylist()
    assert Counter(row["status"] for row in rows)["success"] == PICTURES
    assert len(rows) == PICTURES + 2


def test_vectors_go_into_a_segment_in_order(tmp_path: Path, encoder: Encoder) -> None:
    flow = pictures(20) | bricks.Embed(encoder, piece=7) | bricks.ToVectors(str(tmp_path / "v"))
    assert run(flow).faults == {"undecodable image": 4}
    data = list(bricks.from_vectors(str(tmp_path / "v")))
    run(data | bricks.ToSegment(str(tmp_path / "text.index"), side="text", piece=6))
    index = faiss.read_index(str(tmp_path / "text.index"))
    assert index.ntotal == len(data) == 16
    queries = np.stack([datum.vectors["text"] for datum in data]).astype(np.float32)
    assert index.search(queries, 1)[1][:, 0].tolist() == list(range(16))


def test_fewer_than_no_threads_are_refused() -> None:
    for brick in (bricks.Resize, bricks.Decode):
        with pytest.raises(ConfigurationError, match="threads: found -1, expected 0 or more"):
            brick(threads=-1)


@pytest.mark.parametrize("threads", [0, 3])
def test_a_fault_is_a_row_and_is_touched_no_more(threads: int) -> None:
    touched: list[str] = []

    def odd(datum: Datum) -> Datum:
        if int(datum.key) % 3 == 0:
            raise ValueError("divides by 3")
        return datum.told(odd=int(datum.key) % 2)

    def touch(datum: Datum) -> Datum:
        touched.append(datum.key)
        return datum

    data = [Datum(str(number), image=b"") for number in range(9)]
    made = list(data | bricks.Each(odd, threads) | bricks.Each(touch, threads))
    assert [datum.key for datum in made] == [datum.key for datum in data]
    assert [datum.fault for datum in made] == ["divides by 3", "", ""] * 3
    assert sorted(touched) == ["1", "2", "4", "5", "7", "8"]


def test_what_is_no_fault_of_a_datum_ends_the_flow(tmp_path: Path) -> None:
    def broken(datum: Datum) -> Datum:
        raise TypeError(datum.key)

    with pytest.raises(TypeError, match="0"):
        run([Datum("0")] | bricks.Each(broken, 2))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(SourceFormatError, match="url"):
        run(bricks.from_table(str(tmp_path / "t.parquet")))


def test_nobody_runs_ahead_of_who_takes(shelf: Shelf) -> None:
    read: list[str] = []

    def counted(data: Iterable[Datum]) -> Generator[Datum]:
        for datum in data:
            read.append(datum.key)
            yield datum

    few = SETTINGS.model_copy(update={"concurrency": 2})
    flow = (
        bricks.from_table(str(shelf.table))
        | counted
        | bricks.Fetch(few, ahead=6)
        | bricks.Each(lambda datum: datum, threads=2, ahead=3)
    )
    before = threading.enumerate()
    taken = list(itertools.islice(flow, 5))
    assert len(taken) == 5
    # Five taken, three behind the fetcher, six within it.
    assert len(read) <= 5 + 3 + 6
    assert len(shelf.site.requests) <= len(read)
    # islice keeps no hold of the flow: leaving it ended its threads.
    assert left_over(before) == []


def test_the_samples_of_a_pool_and_of_a_subset(local_store: Store, tmp_path: Path) -> None:
    made = Streamed(local_store)
    made.add(0, [range(10), range(10, 15)])
    made.add(1, [range(20, 31)])
    listed = uids.pairs(pa.chunked_array([[uid_of(22), uid_of(5)]], pa.string()))
    np.save(tmp_path / "chosen.npy", listed)
    content = (tmp_path / "chosen.npy").read_bytes()
    files = {layout.subset("no_filter"): lambda part: part.write_bytes(content)}
    made.make(layout.SUBSETS, Key("no_filter"), 2, files)
    numbers = [datum.fields["number"] for datum in bricks.from_pool(made.pool)]
    assert numbers == [number for number in [*range(15), *range(20, 31)] if number % 4]
    chosen = [datum.fields["number"] for datum in bricks.from_pool(made.pool, "no_filter")]
    assert chosen == [5, 22]
    urls = pa.table({"uid": [uid_of(1)], "url": ["http://gone.example/1"]})
    takedowns.take_down(made.store, [], urls["url"].to_pylist(), urls, "asked")
    takedowns.take_down(made.store, [uid_of(numbers[1])], [], urls[:0], "asked")
    assert [datum.fields["number"] for datum in bricks.from_pool(made.pool)] == numbers[2:]


def test_two_bricks_are_one(tmp_path: Path) -> None:
    both = bricks.Decode() | bricks.Each(lambda d: d.told(sides=list(np.shape(d.pixels))))
    run(pictures(4) | both | bricks.ToTable(str(tmp_path / "t.parquet"), ["sides"]))
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["sides"] for row in rows] == [None, [48, 40, 3], [48, 40, 3], [48, 40, 3]]
    assert rows[0]["status"] == "undecodable image"


def test_fields_of_several_types_become_text(tmp_path: Path) -> None:
    data = [Datum("0", None, {"a": 1}), Datum("1", None, {"a": "x", "b": 2.0}), Datum("2")]
    run(data | bricks.ToTable(str(tmp_path / "t.parquet")))
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [(row["a"], row["b"]) for row in rows] == [("1", None), ("x", 2.0), (None, None)]
    run([] | bricks.ToTable(str(tmp_path / "none.parquet")))
    assert pq.read_metadata(tmp_path / "none.parquet").num_rows == 0


def test_a_flow_that_is_left_leaves_no_half_files(tmp_path: Path) -> None:
    flow = iter(pictures(20) | bricks.ToTars(str(tmp_path / "t"), shard=8))
    list(itertools.islice(flow, 10))
    flow.close()  # pyright: ignore[reportAttributeAccessIssue]
    names = {file.name for file in (tmp_path / "t").rglob("*") if file.is_file()}
    assert names == {"00000.tar", "00000.parquet"}
    said = [json.dumps(d.fields) for d in bricks.from_tars(str(tmp_path / "t"))]
    assert len(said) == 8
