"""Samples by byte range: the bytes that the tar has, few others, and never another tar's."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clip_assets.errors import SchemaError, SourceError, SourceMissingError
from clip_assets.webdataset.index import Place
from clip_assets.webdataset.indices import Tar, index_of
from clip_assets.webdataset.ranges import read_places
from clip_assets.webdataset.reader import TarReader
from clip_assets_tests.inference.shards import Pair, tar_bytes
from clip_assets_tests.servers import Bucket

BIG = [Pair(n, image=os.urandom(20_000)) for n in range(40)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def image_of(reader: TarReader, tar: Tar, number: int) -> bytes | None:
    found = reader.read(tar, lambda index: index.sample_of(Pair(number).uid), lambda _: ["jpg"])
    return found["jpg"] if found else None


def write(path: Path, pairs: list[Pair]) -> Tar:
    path.write_bytes(tar_bytes(pairs))
    return Tar(str(path))


def test_members_are_what_the_tar_has(tmp_path: Path) -> None:
    tar = write(tmp_path / "0.tar", BIG)
    reader = TarReader()
    found = reader.read(tar, lambda index: index.sample("000000007"), lambda s: [*s.members])
    assert found == BIG[7].members("000000007")
    assert image_of(reader, tar, 39) == BIG[39].image
    assert image_of(reader, tar, 40) is None


def test_only_what_is_wanted_comes_from_a_bucket(bucket: Bucket) -> None:
    content = tar_bytes(BIG)
    tar = Tar(bucket.put("0.tar", content))
    index_of(tar)
    before = bucket.relay.sent_bytes
    reader = TarReader()
    for number in (3, 30):
        assert image_of(reader, tar, number) == BIG[number].image
    assert bucket.relay.sent_bytes - before < 60_000 < len(content) / 13


def test_members_that_lie_together_are_read_at_once_and_others_not(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tar = write(path, BIG)
    index = index_of(tar)
    wanted = {
        f"{p.key}.{name}": p.members[name] for p in (index[0], index[39]) for name in p.members
    }
    found = read_places(str(path), wanted)
    assert found is not None
    assert found["000000039.jpg"] == BIG[39].image
    assert list(found) == sorted(found, key=lambda name: wanted[name].offset)


def test_a_tar_that_was_replaced_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tar = write(path, BIG[:3])
    reader = TarReader()
    assert image_of(reader, tar, 0) == BIG[0].image
    write(path, BIG[2::-1])  # of the same size
    assert image_of(reader, tar, 0) == BIG[0].image, "another sample has its place and its key"
    write(path, BIG[:9])
    assert image_of(reader, tar, 8) == BIG[8].image, "a sample that came with the new tar"
    write(path, BIG[1:3])
    assert image_of(reader, tar, 8) is None
    path.write_bytes(b"cut" * 1000)
    with pytest.raises(SchemaError):
        image_of(reader, tar, 1)
    path.unlink()
    with pytest.raises(SourceMissingError):
        image_of(reader, tar, 1)
    write(path, BIG)
    assert image_of(reader, tar, 1) == BIG[1].image, "an error is not kept"


def test_bytes_of_another_tar_are_none(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    place = index_of(write(path, BIG[:3]))[1].members["jpg"]
    assert read_places(str(path), {"000000001.jpg": place}) == {"000000001.jpg": BIG[1].image}
    assert read_places(str(path), {"000000002.jpg": place}) is None
    for other in (Place(place.offset, place.size + 1), Place(place.offset + 1, place.size)):
        assert read_places(str(path), {"000000001.jpg": other}) is None
    path.write_bytes(path.read_bytes()[: place.offset + 10])
    assert read_places(str(path), {"000000001.jpg": place}) is None
    assert read_places(str(path), {}) == {}


def test_threads_share_a_reader(tmp_path: Path) -> None:
    tars = [write(tmp_path / f"{n}.tar", BIG[n * 4 : n * 4 + 4]) for n in range(10)]
    reader = TarReader(memory_bytes=3000)
    start = threading.Barrier(8)

    def read(thread: int) -> bool:
        start.wait()
        order = range(40) if thread % 2 else range(39, -1, -1)
        return all(image_of(reader, tars[n // 4], n) == BIG[n].image for n in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_memory_of_indices_is_bounded(tmp_path: Path) -> None:
    tars = [write(tmp_path / f"{n}.tar", BIG[:4]) for n in range(6)]
    size = index_of(tars[0]).members.nbytes
    reader = TarReader(memory_bytes=3 * size)
    first = [reader.index(tar) for tar in tars]
    kept = [reader.index(tar) is index for tar, index in zip(tars[::-1], first[::-1], strict=True)]
    assert kept == [True, True, True, False, False, False]


def test_a_folder_is_no_tar(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        image_of(TarReader(), Tar(str(tmp_path)), 0)
