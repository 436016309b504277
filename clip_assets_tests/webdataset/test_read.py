"""Tars are read sample by sample, and only what is wanted of them."""

import io
import tarfile
from itertools import islice

import pytest

from clip_assets.errors import SchemaError
from clip_assets.webdataset.index import LINK
from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members, read_images, read_tar
from clip_assets.webdataset.write import end_tar, write_member


def tar_of(*members: tuple[str, bytes]) -> io.BytesIO:
    tar = io.BytesIO()
    for name, content in members:
        write_member(tar, name, content)
    end_tar(tar)
    tar.seek(0)
    return tar


TWO = (("a/0.JPG", b"image"), ("a/0.json", b"{}"), ("a/0.mp4", b"film"), ("a/1.txt", b"text"))


def test_members_of_a_sample_come_together_and_only_wanted_ones() -> None:
    assert list(read_tar(tar_of(*TWO), "a.tar", ("jpg", "json"))) == [
        Members("a/0", {"jpg": b"image", "json": b"{}"}),
        Members("a/1", {}),
    ]


def test_only_a_wanted_member_without_content_is_a_fault() -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, kind in (("0.jpg", tarfile.REGTYPE), ("0.mp4", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    content.seek(0)
    assert list(read_tar(content, "a.tar", ("jpg",))) == [Members("0", {"jpg": b""})]
    content.seek(0)
    assert list(read_tar(content, "a.tar", ("jpg", "mp4"))) == [Members("0", {"jpg": b""}, LINK)]


def test_a_sample_is_read_when_it_is_asked_for() -> None:
    tar = tar_of(("0.jpg", b"image"), ("1.jpg", b"image"))
    tar.truncate(512 + 512 + 512)  # the second sample's content is gone
    found = read_tar(tar, "a.tar", IMAGE_EXTENSIONS)
    assert next(found).key == "0"
    with pytest.raises(SchemaError, match=r"a\.tar: found a tar that breaks off"):
        next(found)


def test_the_first_known_extension_is_the_image() -> None:
    tar = tar_of(("0.png", b"png"), ("0.jpg", b"jpg"), ("1.txt", b"text"), ("2.WebP", b"webp"))
    assert list(read_images(tar, "a.tar")) == [("0", b"jpg"), ("2", b"webp")]
    assert Members("0", {"seg.png": b"x"}).first(IMAGE_EXTENSIONS) is None


def test_some_images_can_be_had_without_the_rest() -> None:
    tar = tar_of(*((f"{n}.jpg", bytes([n])) for n in range(9)))
    tar.truncate(4000)
    assert list(islice(read_images(tar, "a.tar"), 2)) == [("0", b"\0"), ("1", b"\1")]
    tar.seek(0)
    with pytest.raises(SchemaError, match="breaks off"):
        list(read_images(tar, "a.tar"))


def test_what_is_no_tar_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"a\.tar: found a damaged tar"):
        list(read_tar(io.BytesIO(b"<html>" * 200), "a.tar", ("jpg",)))


def test_a_compressed_tar_is_refused() -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.jpg"))
    content.seek(0)
    with pytest.raises(SchemaError, match="damaged"):
        list(read_tar(content, "a.tar", ("jpg",)))
