"""Samples of tars that anybody wrote, in any form, under their new names."""

import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import SchemaError
from clip_assets.files.identity import File
from clip_assets.reshard.plan import spans
from clip_assets.reshard.sources import Sources, Stretch, runs
from clip_assets.reshard.stretches import copy_sample, members_of, rename, write_sample
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
        index = indexed(file, "a.tar", lambda _: None)
    stat = path.stat()
    planned = File(str(path), stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")
    small, large, fast = (path.with_name(name) for name in ("small", "large", "fast"))
    with (
        Sources() as sources,
        small.open("wb") as one,
        large.open("wb") as other,
        fast.open("wb") as third,
    ):
        for number, (start, stop) in enumerate(zip(*spans(index), strict=True)):
            stretch = Stretch(planned, int(start), int(stop))
            write_sample(one, f"{number}", stretch, sources.read([stretch]))
            copy_sample(other, f"{number}", stretch, sources)
            before = bytes(content := sources.read([stretch]))
            if rename(content, f"{number}"):
                third.write(content)
            else:
                assert content == before
                write_sample(third, f"{number}", stretch, content)
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
    some = [(one, 5, 10), (one, 10, 12), (one, 20, 30), (other, 30, 31), (other, 31, 40)]
    stretches = [Stretch(*each) for each in some]
    assert [*runs(stretches)] == [(one, 5, 12), (one, 20, 30), (other, 30, 40)]
    assert [*runs([])] == []
    with Sources() as sources:
        read = sources.read(stretches).tobytes()
    assert read == bytes([*range(5, 12), *range(20, 40)])


@pytest.mark.parametrize("damage", [slice(0, 5), slice(300, 330), slice(148, 156), slice(124, 130)])
def test_bytes_of_another_tar_are_refused(damage: slice) -> None:
    content = bytearray(tar_of({"0.jpg": b"a" * 700, "0.txt": b"b"}).getvalue()[: 4 * HEADER + 512])
    assert [member.extension for member in members_of(bytes(content), "a.tar")] == ["jpg", "txt"]
    assert rename(memoryview(content[:]), "1")
    content[damage] = b"\1" * (damage.stop - damage.start)
    assert not rename(memoryview(content), "1")
    with pytest.raises(SchemaError, match="changed"):
        members_of(bytes(content), "a.tar")
    for cut in (b"", bytes(content[:1000])):
        with pytest.raises(SchemaError, match="changed"):
            members_of(cut, "a.tar")


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
