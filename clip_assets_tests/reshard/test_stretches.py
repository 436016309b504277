"""Samples of tars that anybody wrote, in any form, under their new names."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.files.identity import File
from clip_assets.reshard.plan import CopyPlan, spans
from clip_assets.reshard.renaming import MOST_MEMBERS, renamed
from clip_assets.reshard.sources import Sources, Stretch
from clip_assets.reshard.stretches import copy_sample, members_of, write_sample
from clip_assets.webdataset.tar_blocks import headers_of, plain_headers
from clip_assets.webdataset.tar_headers import HEADER, header_of, padded, plain
from clip_assets.webdataset.tar_index import indexed
from clip_assets.webdataset.write import end_tar
from clip_assets_tests.webdataset.test_index import FORMATS, samples, tar_of


@given(samples=samples, form=st.sampled_from(sorted(FORMATS)))
@settings(max_examples=60)
def test_every_sample_arrives_whole(
    samples: dict[str, dict[str, bytes]], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    members = {f"{key}.{end}": body for key, ends in samples.items() for end, body in ends.items()}
    path = tmp_path_factory.mktemp("form") / "a.tar"
    path.write_bytes(tar_of({"folder/": b""} | members, form).getvalue())
    with path.open("rb") as file:
        index = indexed(file, "a.tar", lambda *_: None)
    stat = path.stat()
    planned = File(str(path), stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")
    small, large, fast = (path.with_name(name) for name in ("small", "large", "fast"))
    with (
        Sources() as sources,
        small.open("wb") as one,
        large.open("wb") as other,
        fast.open("wb") as third,
    ):
        starts, stops = spans(index)
        stretches = [
            Stretch(planned, *place) for place in zip(starts.tolist(), stops.tolist(), strict=True)
        ]
        for number, stretch in enumerate(stretches):
            write_sample(one, f"{number}", stretch, sources.read([stretch]))
            copy_sample(other, f"{number}", stretch, sources)
        before = bytes(content := sources.read(stretches))
        every = np.frombuffer(content, np.uint8)
        keys = np.array([f"{number}".encode() for number in range(len(stretches))], np.bytes_)
        is_renamed = renamed(every, stops - starts, keys)
        for number, stretch in enumerate(stretches):
            place = slice(stretch.start - starts[0], stretch.stop - starts[0])
            if is_renamed[number]:
                third.write(content[place])
            else:
                assert content[place] == before[place]
                write_sample(third, f"{number}", stretch, content[place])
        for out in (one, other, third):
            end_tar(out)
    assert small.read_bytes() == large.read_bytes() == fast.read_bytes()
    with tarfile.open(small) as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # pyright: ignore[reportOptionalMemberAccess]
    assert found == {
        f"{number}.{end}": body
        for number, ends in enumerate(samples.values())
        for end, body in ends.items()
    }


def test_neighbours_are_read_together(tmp_path: Path) -> None:
    files: list[File] = []
    for name in "ab":
        (path := tmp_path / name).write_bytes(bytes(range(100)))
        stat = path.stat()
        files.append(File(str(path), 100, f"{stat.st_size}-{stat.st_mtime_ns}"))
    one, other = files
    places = np.array([(0, 5, 10), (0, 10, 12), (0, 20, 30), (1, 30, 31), (1, 31, 40)]).T
    nothing = np.zeros(5, np.int64)
    tar, start, stop = places
    plan = CopyPlan(files, tar, start, stop, nothing, nothing, nothing > 0, 0, 0)
    assert plan.runs(range(5)) == [(one, 5, 12), (one, 20, 30), (other, 30, 40)]
    assert plan.runs(range(1, 3)) == [(one, 10, 12), (one, 20, 30)]
    with Sources() as sources:
        read = sources.read(plan.runs(range(5))).tobytes()
    assert read == bytes([*range(5, 12), *range(20, 40)])


def two_members(name: bytes = b"0.jpg", other: bytes = b"0.txt") -> bytearray:
    """A sample of 700 bytes and one, without what fills the tar."""
    tar = tar_of({name.decode("latin-1"): b"a" * 700, other.decode("latin-1"): b"b"})
    return bytearray(tar.getvalue()[: 4 * HEADER + 512])


def names_of(content: bytearray, key: bytes = b"1") -> list[bytes] | None:
    """Names of a sample's members under a new key, behind one that stays; None if it has not."""
    one = two_members()
    both = bytearray(one + content)
    sizes = np.array([len(one), len(content)])
    is_renamed = renamed(np.frombuffer(both, np.uint8), sizes, np.array([b"first", key]))
    assert is_renamed[0]
    if not is_renamed[1]:
        assert both[len(one) :] == content
        return None
    headers = (both[at : at + HEADER] for at in (len(one), len(one) + 3 * HEADER))
    found = [plain(bytes(header)) for header in headers]
    return [told[0] for told in found if told]


@pytest.mark.parametrize("damage", [slice(0, 5), slice(300, 330), slice(148, 156), slice(124, 130)])
def test_bytes_of_another_tar_are_refused(damage: slice) -> None:
    content = two_members()
    assert [member.extension for member in members_of(bytes(content), "a.tar")] == ["jpg", "txt"]
    assert names_of(content) == [b"1.jpg", b"1.txt"]
    assert names_of(content[:HEADER]) is names_of(content[: 2 * HEADER]) is None
    content[damage] = b"\1" * (damage.stop - damage.start)
    assert names_of(content) is None
    with pytest.raises(SchemaError, match="changed"):
        members_of(bytes(content), "a.tar")
    for cut in (b"", bytes(content[:1000])):
        with pytest.raises(SchemaError, match="changed"):
            members_of(cut, "a.tar")
        assert names_of(bytearray(cut[:HEADER])) is None


@pytest.mark.parametrize(
    ("name", "other", "found"),
    [
        (b"0.JPG", b"0.cls.TXT", [b"1.jpg", b"1.cls.txt"]),
        (b"a.b/long.jpg", b"a.b/long.txt", [b"1.jpg", b"1.txt"]),
        (b"0." + b"x" * 98, b"0.txt", [b"1." + b"x" * 98, b"1.txt"]),
        (b"0.jpg", b"0.JPG", None),
        (b"0.jpg", b"1.txt", None),
        (b"a/0.jpg", b"b/0.txt", None),
        (b"0.jpg", b"0", None),
        (b"0.jp\xe9", b"0.txt", None),
    ],
)
def test_names_of_a_sample_that_is_renamed(
    name: bytes, other: bytes, found: list[bytes] | None
) -> None:
    assert names_of(two_members(name, other)) == found
    assert names_of(two_members(b"0." + b"x" * 98), b"12") is None


def test_a_sample_of_many_members_is_left_to_others() -> None:
    for count in (MOST_MEMBERS, MOST_MEMBERS + 1):
        members = b"".join(header_of(b"0.%d" % number, 0) for number in range(count))
        content, sizes = np.frombuffer(bytearray(members), np.uint8), np.array([len(members)])
        assert renamed(content, sizes, np.array([b"1"])).tolist() == [count == MOST_MEMBERS]


def test_what_fills_a_block_is_zeros_after_it() -> None:
    content = two_members()
    content[HEADER + 700 : HEADER + 1024] = b"x" * 324
    assert names_of(content) == [b"1.jpg", b"1.txt"]
    assert renamed(
        view := np.frombuffer(content, np.uint8), np.array([2560]), np.array([b"1"])
    ).all()
    assert not view[HEADER + 700 : HEADER + 1024].any()


@given(name=st.binary(min_size=1, max_size=100), size=st.integers(0, (1 << 33) - 1))
def test_many_headers_are_read_and_made_as_one_is(name: bytes, size: int) -> None:
    rows = [header_of(name, size), header_of(b"a.jpg", 7)]
    headers = np.frombuffer(b"".join(rows), np.uint8).reshape(2, HEADER)
    names, sizes, is_plain = plain_headers(headers)
    texts = [text.tobytes().rstrip(b"\0") for text in names]
    told = [
        (text, size) if good else None
        for text, size, good in zip(texts, sizes.tolist(), is_plain.tolist(), strict=True)
    ]
    assert told == [plain(row) for row in rows]
    assert headers_of(names, sizes).tobytes() == headers.tobytes()


@given(name=st.binary(min_size=1, max_size=100), size=st.integers(0, (1 << 33) - 1))
def test_a_header_is_read_as_it_was_made(name: bytes, size: int) -> None:
    header = header_of(name, size)
    info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    assert (len(header), info.size, info.mode) == (HEADER, size, 0o444)
    if b"\0" not in name and not name.endswith(b"/"):
        assert info.name.encode("utf-8", "surrogateescape") == name
        assert plain(header) == (name, size)
    assert padded(size) % HEADER == 0 <= padded(size) - size < HEADER


@given(place=st.integers(0, HEADER - 1), byte=st.integers(0, 255))
def test_a_header_of_which_a_byte_is_another_is_none(place: int, byte: int) -> None:
    header = bytearray(header_of(b"a.jpg", 700))
    is_same = header[place] == byte
    header[place] = byte
    found = plain(bytes(header))
    if plain_headers(np.frombuffer(header, np.uint8)[None])[2]:
        assert found == (b"a.jpg", 700)
    # Signs around the digits of the checksum may be blank or nul.
    assert found in ((b"a.jpg", 700), None)
    assert found is not None or not is_same
    if not is_same and place not in range(148, 156):
        assert found is None


def test_a_header_of_another_kind_is_not_plain() -> None:
    for form in ("gnu", "pax"):
        tar = tar_of({"f" * 120 + ".jpg": b"x"}, form).getvalue()
        assert plain(tar[:HEADER]) is None
    assert plain(bytes(HEADER)) is None
    assert plain(tar_of({"a/": b""}).getvalue()[:HEADER]) is None
