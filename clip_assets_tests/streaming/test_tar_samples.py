"""Samples of tars are read alone, from a disk and from a bucket."""

import shutil
import tarfile
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from clip_assets.errors import DamagedError, SchemaError, SourceMissingError
from clip_assets.streaming.stream import Stream
from clip_assets.streaming.tar_samples import TarSamples
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.streaming.conftest import write_tar


def test_every_sample_of_every_tar_is_read(tars: Path) -> None:
    samples = TarSamples(str(tars))
    assert len(samples) == 53
    for number in range(53):
        sample = samples.read(number)
        assert sample.image == encoded(draw(number))
        assert sample.caption == f"caption {number}"
        assert sample.fields["number"] == number


def test_tars_of_a_bucket_are_the_same_samples(tars: Path) -> None:
    bucket = f"memory://{uuid4().hex}"
    fsspec.filesystem("memory").put(str(tars), bucket, recursive=True)
    here, there = TarSamples(str(tars)), TarSamples(bucket)
    assert here.digest == there.digest
    assert here.read(41) == there.read(41)


def test_one_tar_and_a_glob_are_sets_too(tars: Path) -> None:
    assert len(TarSamples(f"{tars}/a.tar")) == 30
    assert len(TarSamples(f"{tars}/?.tar")) == 52


def test_members_that_are_missing_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only words")
    (tmp_path / "b.png").write_bytes(encoded(draw(1), "PNG"))
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("a.txt", "b.png"):
            tar.add(tmp_path / name, name)
    words, picture = map(TarSamples(str(tmp_path)).read, range(2))
    assert (words.key, words.image, words.caption) == ("a", None, "only words")
    assert (picture.image, picture.caption) == (encoded(draw(1), "PNG"), None)


@pytest.fixture
def own(tars: Path, tmp_path: Path) -> Path:
    """A copy of the tars."""
    return Path(shutil.copytree(tars, tmp_path / "own"))


def test_a_tar_that_is_deleted_while_it_is_read_is_named(own: Path) -> None:
    stream = Stream(TarSamples(str(own)), shuffle=False)
    assert stream.read(2).caption == "caption 2"
    (own / "a.tar").unlink()
    with pytest.raises(SourceMissingError, match=r"own/a\.tar"):
        stream.read(3)
    assert stream.read(40).caption == "caption 40"


def test_a_tar_that_is_cut_while_it_is_read_is_named(own: Path) -> None:
    samples = TarSamples(str(own))
    with (own / "a.tar").open("r+b") as file:
        file.truncate(9_000)
    with pytest.raises(DamagedError, match=r"own/a\.tar: found another tar"):
        samples.read(29)


def test_other_tars_have_another_digest(own: Path) -> None:
    before = TarSamples(str(own)).digest
    write_tar(own / "e.tar", [1])
    assert TarSamples(str(own)).digest != before


def test_a_damaged_tar_and_none_at_all_are_refused(own: Path, tmp_path: Path) -> None:
    (own / "d.tar").write_bytes(b"no tar" * 1_000)
    with pytest.raises(SchemaError, match=r"d\.tar"):
        TarSamples(str(own))
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissingError, match="no tars"):
        TarSamples(str(empty))
    with pytest.raises(SourceMissingError, match="nowhere"):
        TarSamples(str(tmp_path / "nowhere"))
