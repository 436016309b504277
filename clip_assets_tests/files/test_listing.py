"""Which files a folder or a glob stands for."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from clip_assets.errors import SourceError, SourceMissingError
from clip_assets.files.listing import exact_part, is_file, is_folder, is_glob, listed
from clip_assets.files.opening import content
from clip_assets.storage.store import Store
from clip_assets_tests.servers import Bucket, Hub
from clip_assets_tests.websites import Site


def names(pattern: Path, base: Path, *, hidden: bool = True) -> list[str]:
    found = listed(str(pattern), lambda name: name.endswith(".x"), hidden=hidden)
    return sorted(str(Path(file.uri).relative_to(base)) for file in found)


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")


def test_a_folder_is_listed_to_its_bottom(tmp_path: Path) -> None:
    write(tmp_path / "a.x", tmp_path / "b" / "c.x", tmp_path / ".d" / "e.x", tmp_path / "f.y")
    assert names(tmp_path, tmp_path) == [".d/e.x", "a.x", "b/c.x"]
    assert names(tmp_path, tmp_path, hidden=False) == ["a.x", "b/c.x"]
    assert names(tmp_path / ".d", tmp_path, hidden=False) == [".d/e.x"]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "folder", tmp_path) == ["folder/link/a.x"]


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "below" / "a.x", tmp_path / "folder" / "b.x")
    (tmp_path / "folder" / "below" / "up").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "here").symlink_to(".")
    assert names(tmp_path / "folder", tmp_path) == ["folder/b.x", "folder/below/a.x"]


@pytest.mark.parametrize("folder", ["a[1]", "a?", "a*", "a{1}"])
def test_a_glob_in_a_folder_that_is_called_like_one(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "1.x", tmp_path / "a1" / "2.x")
    assert names(tmp_path / folder / "*.x", tmp_path) == [f"{folder}/1.x"]
    assert exact_part(f"{tmp_path}/{folder}/*.x") == f"{tmp_path}/{folder}"
    assert exact_part(f"{tmp_path}/{folder}/") == f"{tmp_path}/{folder}/"
    assert exact_part(f"{tmp_path}/b*/{folder}") == str(tmp_path)


def test_nobody_is_asked_for_a_name_without_signs(unused_url: str) -> None:
    assert exact_part(f"{unused_url}/a.x") == f"{unused_url}/a.x"


def test_a_folder_that_may_not_be_read_is_not_called_empty() -> None:
    # The folders of tmp_path are closed to others altogether.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        Path(place, "locked").mkdir(mode=0)
        with nobody(), pytest.raises(SourceError, match=r"PermissionError.*locked"):
            names(Path(place), Path(place))


@contextmanager
def nobody() -> Generator[None]:
    """Without the rights of a superuser, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_link_that_leads_nowhere_is_listed_and_gone(tmp_path: Path) -> None:
    (tmp_path / "a.x").symlink_to(tmp_path / "nowhere")
    (found,) = listed(str(tmp_path), lambda _: True)
    assert found.is_gone


def test_a_name_that_looks_like_a_glob_is_a_folder_if_there_is_one(tmp_path: Path) -> None:
    write(tmp_path / "a[1]" / "b.x", tmp_path / "a1" / "c.x")
    assert names(tmp_path / "a[1]", tmp_path) == ["a[1]/b.x"]


def test_a_file_holds_no_files_and_a_name_must_be_there(tmp_path: Path) -> None:
    write(tmp_path / "a.x")
    assert names(tmp_path / "a.x", tmp_path) == []
    assert is_file(str(tmp_path / "a.x"))
    assert is_folder(str(tmp_path))
    with pytest.raises(SourceMissingError, match="gone"):
        names(tmp_path / "gone", tmp_path)


def test_a_listing_is_not_kept(hub: Hub) -> None:
    hub.files["some/data"] = {"a": b"1"}
    assert len(listed("hf://datasets/some/data", lambda _: True)) == 1
    hub.files["some/data"] |= {"b": b"2"}
    assert len(listed("hf://datasets/some/data", lambda _: True)) == 2


def test_other_file_systems_are_listed_by_url() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/listed/a/b.x", b"22")
    (found,) = listed("memory://listed", lambda _: True)
    assert (found.uri, found.size_bytes) == ("memory:///listed/a/b.x", 2)
    memory.rm("/listed", recursive=True)


@pytest.mark.parametrize("name", ["folder/", "folder/*.x"])
def test_a_folder_that_a_server_cannot_list_is_not_called_empty(site: Site, name: str) -> None:
    site.status = 503
    with pytest.raises(SourceError, match="503") as caught:
        listed(f"{site.url}/{name}", lambda _: True)
    assert not isinstance(caught.value, SourceMissingError)


def test_a_glob_of_a_server_that_nobody_runs_is_not_called_empty(unused_url: str) -> None:
    with pytest.raises(SourceError, match="network"):
        listed(f"{unused_url}/folder/*.x", lambda _: True)


def test_a_dead_link_of_a_directory_page_is_gone(site: Site) -> None:
    site.files["/folder/"] = b'<a href="a.x">a</a> <a href="b.x">b</a>'
    site.files["/folder/a.x"] = b"1"
    found = {file.uri: file for file in listed(f"{site.url}/folder/", lambda _: True)}
    assert [found[f"{site.url}/folder/{name}"].is_gone for name in ("a.x", "b.x")] == [False, True]


NAMES = {
    "a&amp;b.x": "a&b.x", "&#233;.x": "%C3%A9.x", "%C3%A9%20.x": "%C3%A9%20.x",
    "q%3Fr%23.x": "q%3Fr%23.x",
    "pct%2541.x": "pct%2541.x", "e.x#top": "e.x", "f.x?a=1&copy=2": "f.x?a=1&copy=2",
    "g h.x": "g%20h.x",
}  # fmt: skip


@pytest.mark.parametrize("link", NAMES)
def test_links_of_a_directory_page_are_read_as_browsers_do(site: Site, link: str) -> None:
    site.files["/folder/"] = f'<a href="{link}">a</a> <a href="c.x">c</a>'.encode()
    site.files |= {f"/folder/{NAMES[link]}": b"12", "/folder/c.x": b"1"}
    found = listed(f"{site.url}/folder/", lambda _: True)
    assert sorted(file.size_bytes for file in found) == [1, 2]
    other = max(found, key=lambda file: file.size_bytes)
    assert content(other.uri) == b"12"


def test_markers_of_folders_are_no_files(bucket: Bucket) -> None:
    for name in ("out.x/a.x", "deep/er/b.x", "empty.x"):
        bucket.put(name, b"" if name == "empty.x" else b"1")
    # Consoles leave the first form, Hadoop and gcsfuse the second.
    mark(bucket, "out.x/")
    mark(bucket, "deep/er")
    names = {file.uri.removeprefix(f"{bucket.url}/") for file in listed(bucket.url, lambda _: True)}
    assert names == {"out.x/a.x", "deep/er/b.x", "empty.x"}
    found = listed(f"{bucket.url}/out.x", lambda _: True)
    assert [file.uri for file in found] == [f"{bucket.url}/out.x/a.x"]
    assert Store(bucket.url).list("out.x") == ["out.x/a.x"]


def mark(bucket: Bucket, name: str) -> None:
    """An empty object, by the service's own interface where the file system makes none."""
    if bucket.url.startswith("gs://"):
        if not name.endswith("/"):
            bucket.put(name, b"")
        return
    place, _, key = f"{bucket.url}/{name}".removeprefix("s3://").partition("/")
    fs, _ = fsspec.url_to_fs(bucket.url)
    fs.call_s3("put_object", Bucket=place, Key=key, Body=b"")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a*", True), ("a[1]", True), ("a?", True), ("a", False), ("http://h/a?b=c", False)],
)
def test_signs_make_a_glob(name: str, expected: bool) -> None:
    assert is_glob(name) == expected


def test_what_is_neither_a_file_nor_a_folder_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.x")
    (tmp_path / "loop.x").symlink_to("loop.x")
    with pytest.raises(SourceError, match=r"pipe\.x: found no file, such as a pipe"):
        names(tmp_path / "pipe.x", tmp_path)
    with pytest.raises(SourceError, match=r"loop\.x: found a link that leads back to itself"):
        names(tmp_path / "loop.x", tmp_path)
