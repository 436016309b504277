"""Places in a tar are those that the standard library reads from, whoever wrote it."""

import io
import os
import tarfile
import tracemalloc
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.webdataset.index import LINK, SPARSE, Place, Places, index_tar, read_member
from clip_assets.webdataset.tar_headers import CHECKSUM
from clip_assets.webdataset.write import end_tar, write_member

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

Contents = dict[str, bytes]


def tar_of(members: Contents, form: str = "ustar") -> io.BytesIO:
    """A tar as the standard library writes it; a name that ends in a slash is a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=FORMATS[form]) as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    content.seek(0)
    return content


def expected_of(file: BinaryIO) -> Contents:
    """Contents by name, read by the standard library."""
    with tarfile.open(fileobj=file) as tar:
        files = {info.name: tar.extractfile(info) for info in tar if info.isfile()}
        return {name: content.read() for name, content in files.items() if content}


def found_in(file: BinaryIO) -> Contents:
    """Contents by name, read by their places, the last first."""
    places = {
        f"{sample.key}.{extension}": place
        for sample in index_tar(file, "a.tar")
        for extension, place in sample.members.items()
    }
    found = {name: read_member(file, places[name], "a.tar") for name in reversed(places)}
    return dict(reversed(found.items()))


folders = st.sampled_from(["", "a/", "a/b.c/", "f" * 60 + "/" + "g" * 60 + "/"])
stems = st.text(st.sampled_from("abø雪_- "), min_size=1, max_size=70)
keys = st.builds(str.__add__, folders, stems)
samples = st.dictionaries(
    keys,
    st.dictionaries(
        st.sampled_from(["jpg", "json", "txt", "seg.png"]), st.binary(max_size=1500), min_size=1
    ),
    max_size=6,
)


def named(samples: dict[str, Contents]) -> Contents:
    """Contents of all samples by name."""
    return {f"{key}.{ext}": body for key, found in samples.items() for ext, body in found.items()}


@given(samples=samples, form=st.sampled_from(["gnu", "pax"]))
def test_members_are_read_as_the_standard_library_reads_them(
    samples: dict[str, Contents], form: str
) -> None:
    members = named(samples)
    tar = tar_of(members, form)
    assert expected_of(tar) == members
    tar.seek(0)
    assert list(found_in(tar).items()) == list(members.items())


@given(samples=samples)
def test_one_sample_after_the_other_is_told(samples: dict[str, Contents]) -> None:
    members = named(samples)
    found = list(index_tar(tar_of(members, "pax"), "a.tar"))
    assert [(sample.key, list(sample.members)) for sample in found] == [
        (key, list(contents)) for key, contents in samples.items()
    ]


def test_places_are_bytes_from_the_start_of_the_tar() -> None:
    tar = io.BytesIO()
    write_member(tar, "0.jpg", b"x" * 513)
    write_member(tar, "0.txt", b"")
    write_member(tar, "1.jpg", b"y")
    end_tar(tar)
    tar.seek(0)
    assert list(index_tar(tar, "a.tar")) == [
        Places("0", {"jpg": Place(512, 513), "txt": Place(2048, 0)}),
        Places("1", {"jpg": Place(2560, 1)}),
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_folders_are_passed_over(form: str) -> None:
    tar = tar_of({"a/": b"", "a/0.jpg": b"x", "a/0/": b"", "a/0.TXT": b"y"}, form)
    (sample,) = index_tar(tar, "a.tar")
    assert (sample.key, list(sample.members)) == ("a/0", ["jpg", "txt"])


def test_the_last_of_equal_names_counts() -> None:
    tar = io.BytesIO()
    for content in (b"first", b"second"):
        write_member(tar, "0.jpg", content)
    end_tar(tar)
    tar.seek(0)
    assert found_in(tar) == {"0.jpg": b"second"}


def test_names_that_are_no_utf8_are_made_text() -> None:
    tar = tar_of({os.fsdecode(name): b"x" for name in (b"\xff.jpg", b"\xfe.jpg")})
    assert [sample.key for sample in index_tar(tar, "a.tar")] == ["?", "?"]


def test_an_empty_tar_has_no_samples() -> None:
    assert list(index_tar(tar_of({}), "a.tar")) == []


def test_contents_are_not_read() -> None:
    class Counted(io.BytesIO):
        bytes_read = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            self.bytes_read += len(content)
            return content

    tar = Counted(tar_of({f"{n}.jpg": bytes(100_000) for n in range(5)}).getvalue())
    assert len(list(index_tar(tar, "a.tar"))) == 5
    assert tar.bytes_read < 10_000


def test_memory_does_not_grow_with_the_tar() -> None:
    tar = tar_of({f"{n}.jpg": b"" for n in range(3000)})
    tracemalloc.start()
    try:
        assert sum(1 for _ in index_tar(tar, "a.tar")) == 3000
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


WHOLE = tar_of({"0.jpg": b"x" * 700, "1.jpg": b"y" * 1500}).getvalue()
MEMBERS_END = 512 + 1024 + 512 + 1536


@pytest.mark.parametrize("length", [0, 1, 511, 512, 600, 1535, 1536, 1700, 2100, MEMBERS_END])
def test_a_tar_without_its_end_is_refused(length: int) -> None:
    with pytest.raises(SchemaError, match=r"^bucket/a\.tar: found a .*tar.*Make it again"):
        list(index_tar(io.BytesIO(WHOLE[:length]), "bucket/a.tar"))


def with_header(place: slice, value: bytes) -> io.BytesIO:
    """A tar of one empty member, whose header says something else."""
    tar = bytearray(tar_of({"0.jpg": b""}).getvalue())
    tar[place] = value
    tar[CHECKSUM] = b" " * 8
    tar[CHECKSUM] = b"%06o\0 " % sum(tar[:512])
    return io.BytesIO(tar)


def test_a_member_of_negative_size_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"without a plain content, 0\.jpg"):
        list(index_tar(with_header(slice(124, 136), b"\xff" * 12), "a.tar"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(tarfile.GNUTYPE_SPARSE, SPARSE), (tarfile.SYMTYPE, LINK), (tarfile.LNKTYPE, LINK)],
)
def test_a_member_in_no_one_place_is_named(kind: bytes, reason: str) -> None:
    (sample,) = index_tar(with_header(slice(156, 157), kind), "a.tar")
    assert sample == Places("0", {}, {"jpg": reason})


def test_the_last_of_equal_names_counts_for_links_too() -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("0.jpg", "1.jpg"):
            kinds = (tarfile.SYMTYPE, tarfile.REGTYPE)
            for kind in kinds if name == "0.jpg" else reversed(kinds):
                info = tarfile.TarInfo(name)
                info.type = kind
                tar.addfile(info)
    content.seek(0)
    first, second = index_tar(content, "a.tar")
    assert (list(first.members), first.elsewhere) == (["jpg"], {})
    assert (second.members, second.elsewhere) == ({}, {"jpg": LINK})


def test_a_place_beyond_the_end_is_refused() -> None:
    place = Place(len(WHOLE) - 10, 11)
    with pytest.raises(SchemaError, match=f"breaks off after {len(WHOLE):,} bytes"):
        read_member(io.BytesIO(WHOLE), place, "a.tar")


def test_an_impossible_size_is_refused() -> None:
    # Sizes of more than 8 GiB are numbers in base 256.
    tar = with_header(slice(124, 136), b"\x80" + b"\xff" * 11)
    with pytest.raises(SchemaError, match="damaged"):
        list(index_tar(tar, "a.tar"))


@given(data=st.data())
def test_a_damaged_tar_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        header = data.draw(st.sampled_from([0, 1536, MEMBERS_END]))
        damaged[header + data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
    file = io.BytesIO(damaged)
    try:
        for sample in index_tar(file, "a.tar"):
            for place in sample.members.values():
                assert len(read_member(file, place, "a.tar")) == place.size
    except SchemaError:
        pass


@pytest.mark.parametrize(
    "told",
    [
        {"GNU.sparse.map": "not,numbers", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,99999999999999999999", "GNU.sparse.size": "4611686018427387904"},
        {"GNU.sparse.size": "10", "GNU.sparse.numblocks": "x", "GNU.sparse.offset": "y"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 20},
    ],
    ids=["words", "too large", "no pairs", "no map"],
)
def test_a_broken_map_of_a_sparse_member_costs_that_member(told: dict[str, str]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, headers in (("0.jpg", {}), ("1.jpg", told), ("1.txt", {}), ("2.jpg", {})):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 5, headers
            tar.addfile(member, io.BytesIO(b"abcde"))
    content.seek(0)
    places = index_tar(content, "a.tar")
    found = {place.key: (list(place.members), place.elsewhere) for place in places}
    assert found == {"0": (["jpg"], {}), "1": (["txt"], {"jpg": SPARSE}), "2": (["jpg"], {})}
