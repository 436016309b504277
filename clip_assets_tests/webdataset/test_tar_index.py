"""An index says of a tar what its headers say, wherever it is kept."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import SchemaError, SourceMissingError
from clip_assets.webdataset.index import LINK, index_tar
from clip_assets.webdataset.indices import Tar, index_of, kept_folder
from clip_assets.webdataset.plain_index import plain_members
from clip_assets.webdataset.tar_index import TarIndex, indexed, read_index, write_index
from clip_assets_tests.inference.shards import Pair, tar_bytes
from clip_assets_tests.webdataset.test_index import tar_of, with_header

PAIRS = [Pair(n, image=bytes([n]) * (700 * n)) for n in range(5)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the user that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A tar of five samples."""
    path = tmp_path / "0.tar"
    path.write_bytes(tar_bytes(PAIRS))
    return path


def kept() -> list[Path]:
    return [*kept_folder().iterdir()] if kept_folder().exists() else []


def unread(path: Path) -> None:
    """Take the content from a tar, so that whoever reads it fails, but neither size nor time."""
    before = path.stat()
    path.write_bytes(b"\1" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_index_has_every_place_and_uid(tar: Path) -> None:
    found = index_of(Tar(str(tar)))
    with tar.open("rb") as file:
        assert list(found) == list(index_tar(file, "0.tar"))
    assert len(found) == 5
    assert found.uids() == [pair.uid for pair in PAIRS]
    assert found.sample("000000003") == found.sample_of(PAIRS[3].uid) == found[3]
    assert found.sample("3") is found.sample_of("3") is None


def test_members_without_a_place_are_told(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(with_header(slice(156, 157), b"2").getvalue())
    (sample,) = index_of(Tar(str(tmp_path / "0.tar")))
    assert sample.elsewhere == dict.fromkeys(sample.elsewhere, LINK) != {}


def test_a_tar_without_members_has_an_index(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of({}).getvalue())
    found = index_of(Tar(str(tmp_path / "0.tar")))
    assert (len(found), list(found), found.uids(), found.sample("a")) == (0, [], [], None)


@pytest.mark.parametrize("json", [None, b"{", b"[]", b'{"uid": 3}'])
def test_a_sample_without_a_uid_has_none(tmp_path: Path, json: bytes | None) -> None:
    (tmp_path / "0.tar").write_bytes(tar_bytes([Pair(0, json=json), Pair(1)]))
    assert index_of(Tar(str(tmp_path / "0.tar"))).uids() == [None, Pair(1).uid]


def test_uids_of_rows_are_taken_before_those_of_json(tar: Path, tmp_path: Path) -> None:
    rows = {"key": [f"{n:09d}" for n in range(4)], "uid": list("abcd"), "url": ["u"] * 4}
    pq.write_table(pa.table(rows), tmp_path / "0.parquet")
    found = index_of(Tar(str(tar), rows=str(tmp_path / "0.parquet")))
    assert found.uids() == ["a", "b", "c", "d", None]


@pytest.mark.parametrize("columns", [{"key": ["a"]}, {"uid": ["a"]}, None])
def test_rows_without_uids_say_nothing(
    tar: Path, tmp_path: Path, columns: dict[str, list[str]] | None
) -> None:
    rows = tmp_path / "0.parquet"
    rows.write_bytes(b"no table")
    if columns is not None:
        pq.write_table(pa.table(columns), rows)
    assert index_of(Tar(str(tar), rows=str(rows))).uids() == [pair.uid for pair in PAIRS]


def test_an_index_is_made_once_and_kept(tar: Path) -> None:
    first = index_of(Tar(str(tar)))
    assert len(kept()) == 1
    unread(tar)
    assert index_of(Tar(str(tar))).members == first.members
    with pytest.raises(SchemaError):
        index_of(Tar(str(tar)), anew=True)


def grow(tar: Path) -> None:
    tar.write_bytes(tar_bytes([*PAIRS, Pair(5, image=bytes(20_000))]))


def touch(tar: Path) -> None:
    tar.write_bytes(tar_bytes(PAIRS[::-1]))
    os.utime(tar, ns=(0, 0))


@pytest.mark.parametrize("change", [grow, touch])
def test_a_kept_index_is_of_one_state_of_the_tar(tar: Path, change: Callable[[Path], None]) -> None:
    index_of(Tar(str(tar)))
    change(tar)
    assert index_of(Tar(str(tar))).uids() != [pair.uid for pair in PAIRS]
    assert len(kept()) == 2


def test_a_damaged_kept_index_is_made_again(tar: Path) -> None:
    first = index_of(Tar(str(tar)))
    for content in (b"", b"PAR1" * 100, kept()[0].read_bytes()[:-50]):
        kept()[0].write_bytes(content)
        assert index_of(Tar(str(tar))).members == first.members
        with kept()[0].open("rb") as file:
            assert read_index(file, "kept") is not None


def test_an_index_that_cannot_be_kept_is_made_every_time(tar: Path, cache: Path) -> None:
    cache.write_bytes(b"a file in the place of the folder")
    assert len(index_of(Tar(str(tar)))) == len(index_of(Tar(str(tar)))) == 5


def test_an_index_beside_the_tar_counts_while_the_tar_has_its_size(
    tar: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "index.parquet"

    def named(key: str, _: object) -> str:
        return f"beside {key}"

    with tar.open("rb") as file:
        write_index(beside, indexed(file, "0.tar", named))
    wanted = Tar(str(tar), index=str(beside))
    assert index_of(wanted).uids()[0] == "beside 000000000"
    assert kept() == []
    grow(tar)
    assert index_of(wanted).uids()[0] == PAIRS[0].uid


def test_an_index_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    content = tar_bytes(PAIRS)
    made = indexed(io.BytesIO(content), "0.tar", lambda key, _: key[-1])
    write_index(tmp_path / "a", made)
    with (tmp_path / "a").open("rb") as file:
        again = read_index(file, "a")
    assert isinstance(again, TarIndex)
    assert (again.members.to_pylist(), again.tar_bytes) == (made.members.to_pylist(), len(content))


def test_what_is_no_tar_has_no_index(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        index_of(Tar(str(tmp_path / "none.tar")))
    (tmp_path / "0.tar").write_bytes(b"<html>" * 200)
    with pytest.raises(SchemaError, match="a damaged tar"):
        index_of(Tar(str(tmp_path / "0.tar")))
    (tmp_path / "0.tar").write_bytes(tar_bytes(PAIRS)[:2000])
    with pytest.raises(SchemaError):
        index_of(Tar(str(tmp_path / "0.tar")))
    assert kept() == []


def by_the_long_way(tar: bytes) -> list[dict[str, object]]:
    """Rows of an index that takes every form of a tar."""
    return [
        {
            "uid": sample.key,
            "key": sample.key,
            "extension": extension,
            "offset": place.offset,
            "size": place.size,
        }
        for sample in index_tar(io.BytesIO(tar), "0.tar")
        for extension, place in sample.members.items()
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["0.jpg", "0.json", "1.jpg", "0.txt"],
        ["a.b/long.JPG", "a.b/long.seg.png", "a/0.jpg"],
        ["0", "1", "0.jpg", "1.", ".x"],
        [f"{number:03d}.{end}" for number in range(400) for end in ("jpg", "txt")],
        [f"0.{number:03d}" for number in range(70)],
        ["0.jpg", "1.jpg", "1.JPG"],
        ["0.jpg", "é.jpg"],
        ["0.jpg", "f" * 120 + ".jpg", "1.jpg"],
        ["0.jpg", "folder/", "folder/1.jpg"],
    ],
)
def test_both_ways_to_an_index_say_the_same(names: list[str]) -> None:
    tar = tar_of({name: bytes(len(name)) for name in names}, "gnu").getvalue()
    found = indexed(io.BytesIO(tar), "0.tar", lambda key, _: key)
    assert found.members.to_pylist() == by_the_long_way(tar)


@pytest.mark.parametrize("name", ["0.jpg", "0.", "é.jpg"])
def test_the_fast_way_is_not_taken_for_tars_that_it_cannot_tell(name: str) -> None:
    content = tar_of({name: b"x" * 700, "1.jpg": b"y"}).getvalue()
    assert (plain_members(io.BytesIO(content)) is None) == (name == "é.jpg")
    for length in (0, 511, 512, 600, 1536, 1700, 2559, 2560, 2600):
        assert plain_members(io.BytesIO(content[:length])) is None
    for place, value in {100: b"\1", 124: b"8", 156: b"2", 345: b"p", 1536: b"\1"}.items():
        damaged = bytearray(content)
        damaged[place : place + 1] = value
        assert plain_members(io.BytesIO(damaged)) is None
