"""What is wrong with a subset, an input or an output is said before anything is written."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import (
    ClipAssetsError,
    ConfigurationError,
    SchemaError,
    SourceChangedError,
    SourceError,
    SourceFormatError,
    SourceMissingError,
    StorageFullError,
)
from clip_assets.files.identity import looked_at
from clip_assets.reshard.resharding import MISSING, Options, reshard
from clip_assets.reshard.sources import Sources, Stretch
from clip_assets.reshard.subset_file import read_subset
from clip_assets_tests.inference.shards import Pair, tar_bytes
from clip_assets_tests.reshard.tars import contents, every_key, folder, pair, pairs_of, subset, uid

ONE = {"00000000": [pair(0), pair(1), pair(2)]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One tar of three samples."""
    return folder(tmp_path / "in", ONE)


def refused(
    tmp_path: Path, kind: type[ClipAssetsError], found: str, *wanted: int, **options: bool
) -> ClipAssetsError:
    """The error of a run that writes nothing."""
    file = subset(tmp_path / "subset.npy", wanted or [0])
    with pytest.raises(kind, match=found) as caught:
        reshard(file, str(tmp_path / "out"), [str(tmp_path / "in")], Options(**options))
    assert not [*(tmp_path / "out").glob("*.tar")]
    return caught.value


def test_uids_that_are_not_there_are_named(source: Path, tmp_path: Path) -> None:
    error = refused(tmp_path, SourceMissingError, "7 of 8 uids", 1, *range(90, 97))
    assert sum(uid(number) in str(error) for number in range(90, 97)) == 5
    missing = np.load(tmp_path / "out" / MISSING)
    assert sorted(missing.tolist()) == sorted(pairs_of([*map(uid, range(90, 97))]).tolist())
    assert [file.name for file in (tmp_path / "out").iterdir()] == [MISSING]
    # It stands in nobody's way, and goes when nothing is missing.
    file = subset(tmp_path / "subset.npy", [1])
    assert reshard(file, str(tmp_path / "out"), [str(source)]).samples == 1
    assert not (tmp_path / "out" / MISSING).exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").touch()
    with pytest.raises(SourceMissingError):
        reshard(subset(tmp_path / "subset.npy", [91]), str(tmp_path / "other"), [str(source)])
    assert not (tmp_path / "other" / MISSING).exists()


def test_uids_may_be_missing_where_that_is_allowed(source: Path, tmp_path: Path) -> None:
    file = subset(tmp_path / "subset.npy", [1, 91, 91, 90])
    done = reshard(file, str(tmp_path / "out"), [str(source)], Options(allow_missing=True))
    assert (done.samples, done.missing) == (1, 2)
    missing = np.load(tmp_path / "out" / MISSING)
    assert sorted(missing.tolist()) == sorted(pairs_of([uid(90), uid(91)]).tolist())


def test_nothing_at_all_is_an_error_also_then(source: Path, tmp_path: Path) -> None:
    error = refused(tmp_path, SourceMissingError, "1 of 1 uids", 90, allow_missing=True)
    assert "--allow-missing" not in str(error)


def test_an_unsorted_subset_gives_what_the_sorted_one_does(source: Path, tmp_path: Path) -> None:
    texts = [uid(number) for number in (2, 0, 1, 0)]
    np.save(tmp_path / "unsorted.npy", pairs_of(texts))
    wanted = read_subset(str(tmp_path / "unsorted.npy"))
    assert not wanted.was_sorted
    reshard(str(tmp_path / "unsorted.npy"), str(tmp_path / "out"), [str(source)])
    assert every_key(tmp_path / "out") == [
        f"{uid(0)}-0", f"{uid(0)}-1", f"{uid(1)}-0", f"{uid(2)}-0",
    ]  # fmt: skip


def test_the_bare_array_is_a_subset_too(source: Path, tmp_path: Path) -> None:
    file = subset(tmp_path / "subset.npy", [0, 2, 2])
    np.load(file).tofile(tmp_path / "subset.memmap")
    bare, saved = (read_subset(str(tmp_path / f"subset.{end}")) for end in ("memmap", "npy"))
    assert bare.digest == saved.digest
    assert bare.times.tolist() == saved.times.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros(3, "u8"), "uint64"),
        (np.zeros((3, 2), "u8"), "2 dimensions"),
        (np.zeros((3, 2), "u8,u8"), "2 dimensions"),
        (np.zeros(3, "i8,i8"), "i8"),
        (np.zeros(3, "u8,u8,u8"), "u8"),
        (np.array(["a" * 32]), "U32"),
    ],
)
def test_what_is_no_list_of_uids_is_refused(
    tmp_path: Path, array: "np.ndarray[tuple[int, ...], np.dtype[np.void]]", found: str
) -> None:
    np.save(tmp_path / "s.npy", array)
    with pytest.raises(SourceFormatError, match=found):
        read_subset(str(tmp_path / "s.npy"))


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros(0, "u8,u8"))
    with pytest.raises(ConfigurationError, match="no uid"):
        read_subset(str(tmp_path / "s.npy"))


def test_uids_in_the_other_order_of_bytes_are_the_same(tmp_path: Path) -> None:
    file = subset(tmp_path / "little.npy", [2, 0, 1])
    np.save(tmp_path / "big.npy", np.load(file).astype(">u8,>u8"))
    assert read_subset(str(tmp_path / "big.npy")).digest == read_subset(file).digest


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        read_subset(str(tmp_path / "none.npy"))
    whole = Path(subset(tmp_path / "s.npy", [1, 2])).read_bytes()
    for name, content in {"a.npy": whole[:-1], "b.npy": b"x" * 32, "c.bin": b"x" * 33}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceFormatError):
            read_subset(str(tmp_path / name))
    (tmp_path / "o.npy").write_bytes(b"")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SourceFormatError, match="damaged"):
        read_subset(str(tmp_path / "o.npy"))


@pytest.mark.parametrize("odd", ["a" * 31, "A" * 32, "", "g" * 32, " " + "a" * 31])
def test_a_uid_of_another_form_is_named_with_its_tar(tmp_path: Path, odd: str) -> None:
    folder(tmp_path / "in", {"00000000": [pair(0), Pair(1, fields={"uid": odd})]})
    error = refused(tmp_path, SchemaError, "the uid")
    assert repr(odd) in error.found
    assert error.where.endswith("00000000.tar")


def test_a_sample_without_a_uid_is_counted(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"0": [pair(0), Pair(1, json=None)]})
    done = reshard(subset(tmp_path / "s.npy", [0]), str(tmp_path / "out"), [str(source)])
    assert (done.samples, done.without_uid) == (1, 1)


@pytest.mark.parametrize("size", [-20_000, 1_000, 100])
def test_a_cut_tar_is_named(source: Path, tmp_path: Path, size: int) -> None:
    tar = source / "00000000.tar"
    big = tar_bytes([pair(0), pair(1, 90_000)])
    tar.write_bytes(big[:size])
    assert refused(tmp_path, SchemaError, "damaged|breaks off").where == str(tar)


def test_inputs_without_tars_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(tmp_path, SourceMissingError, "no tar")
    file = subset(tmp_path / "subset.npy", [0])
    for path in (tmp_path / "none", tmp_path / "none.tar"):
        with pytest.raises(SourceMissingError):
            reshard(file, str(tmp_path / "out"), [str(path)])


def another_subset(source: Path, out: Path) -> None:
    reshard(subset(source.parent / "another.npy", [1]), str(out), [str(source)])


def a_file(source: Path, out: Path) -> None:
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "mine.txt").write_text("keep me")


def another_size(source: Path, out: Path) -> None:
    reshard(subset(source.parent / "s.npy", [0]), str(out), [str(source)], Options(shard_size=1))


def another_input(source: Path, out: Path) -> None:
    reshard(subset(source.parent / "s.npy", [0]), str(out), [str(source)])
    folder(source, {"00000000": [pair(3), pair(0)]})


@pytest.mark.parametrize("before", [another_subset, a_file, another_size, another_input])
def test_a_folder_with_something_else_is_left_alone(
    source: Path, tmp_path: Path, before: Callable[[Path, Path], None]
) -> None:
    out = tmp_path / "out"
    before(source, out)
    there = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="something else"):
        reshard(subset(tmp_path / "s.npy", [0]), str(out), [str(source)])
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == there


def linked(link: bytes) -> bytes:
    """Two samples, the second with a link in the place of its image."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for key, number in (("a", 0), ("b", 1)):
            for extension, body in pair(number).members(key).items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(body)
                if (key, extension) == ("b", "jpg"):
                    info.type, info.linkname, info.size = link, "a.jpg", 0
                tar.addfile(info, io.BytesIO(body[: info.size]))
    return content.getvalue()


@pytest.mark.parametrize("link", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_refused_where_it_is_wanted(source: Path, tmp_path: Path, link: bytes) -> None:
    (source / "00000000.tar").write_bytes(linked(link))
    refused(tmp_path, SchemaError, "b.jpg", 1)
    file = subset(tmp_path / "subset.npy", [0])
    assert reshard(file, str(tmp_path / "out"), [str(source)]).samples == 1


def test_a_name_that_becomes_too_long_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "in", {"0": [Pair(0, extension="x" * 70, fields={"uid": uid(0)})]})
    refused(tmp_path, SchemaError, "x" * 70)


def test_a_tar_that_changes_while_it_is_copied_from_is_refused(
    source: Path, tmp_path: Path
) -> None:
    tar = source / "00000000.tar"
    planned = looked_at(str(tar))
    with Sources() as sources:
        assert len(sources.read([Stretch(planned, 0, 512)])) == 512
        with pytest.raises(SchemaError, match="changed"):
            sources.read([Stretch(planned, 0, 1 << 30)])
    tar.write_bytes(tar_bytes([pair(5)]))
    with Sources() as sources, pytest.raises(SourceChangedError):
        sources.read([Stretch(planned, 0, 512)])
    tar.unlink()
    with Sources() as sources, pytest.raises(SourceError):
        sources.read([Stretch(planned, 0, 512)])


def test_a_tar_whose_name_is_no_utf8_is_copied_from(source: Path, tmp_path: Path) -> None:
    (source / "00000000.tar").rename(source / os.fsdecode(b"caf\xe9.tar"))
    file = subset(tmp_path / "subset.npy", [1])
    assert reshard(file, str(tmp_path / "out"), [str(source)], Options()).samples == 1


def test_of_two_samples_of_a_tar_with_one_uid_the_first_counts(tmp_path: Path) -> None:
    twice = [pair(0), Pair(1, image=b"other", fields={"uid": uid(0)}), pair(2)]
    source = folder(tmp_path / "in", {"0": twice})
    done = reshard(subset(tmp_path / "s.npy", [0, 2]), str(tmp_path / "out"), [str(source)])
    assert (done.samples, done.repeated) == (2, 1)
    found = contents((tmp_path / "out" / "00000000.tar").read_bytes())
    assert found[f"{uid(0)}-0"]["jpg"] == pair(0).image


def test_metadata_without_uids_are_named(source: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["0"], "score": [1.0]}), tmp_path / "m.parquet")
    options = Options(metadata=str(tmp_path / "m.parquet"), columns=("score",))
    with pytest.raises(SourceFormatError, match="also uid"):
        reshard(subset(tmp_path / "s.npy", [0]), str(tmp_path / "out"), [str(source)], options)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_is_told_and_gone_on_with(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"0": [pair(n, 100_000) for n in range(6)]})
    file, out = subset(tmp_path / "s.npy", range(6)), tmp_path / "out"
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(out)], check=True)
    try:
        with pytest.raises(StorageFullError):
            reshard(file, str(out), [str(source)], Options(1, workers=1))
        assert 0 < len([*out.glob("*_stats.json")]) < 6
        assert not [*(out / ".tmp").iterdir()]
        subprocess.run(["mount", "-o", "remount,size=4m", str(out)], check=True)
        assert reshard(file, str(out), [str(source)], Options(1)).kept > 0
        assert every_key(out) == [f"{uid(n)}-0" for n in range(6)]
    finally:
        subprocess.run(["umount", "--lazy", str(out)], check=True)
