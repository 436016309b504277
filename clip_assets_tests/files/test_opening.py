"""Files of all places, opened for reading."""

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_assets.commands.serve import token_in
from clip_assets.errors import ConfigurationError, SourceError, SourceMissingError
from clip_assets.files import filesystem
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import content, has_ranges, opened
from clip_assets.retrieval.queries import vector_in
from clip_assets.retrieval.query_file import read as read_queries
from clip_assets_tests.websites import Site


def test_any_place_of_a_file_can_be_read(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    site.files["/a"] = b"0123456789"
    for uri in (str(tmp_path / "a"), f"{site.url}/a"):
        assert content(uri) == b"0123456789"
        with opened(uri) as file:
            file.seek(4)
            assert file.read(2) == b"45"


def test_bytes_arrive_as_they_are_stored(site: Site) -> None:
    site.encoding = "gzip"
    site.files["/a"] = b"no gzip at all"
    assert content(f"{site.url}/a") == b"no gzip at all"


def test_a_password_can_stand_in_a_netrc(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/a"] = b"1"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert content(f"{site.url}/a") == b"1"
    assert site.authorization == f"Basic {b64encode(b'me:mine').decode()}"


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_server_is_asked_whether_it_knows_ranges(site: Site, knows_ranges: bool) -> None:
    site.knows_ranges = knows_ranges
    site.files["/a"] = b"1"
    assert has_ranges(f"{site.url}/a") == knows_ranges
    assert has_ranges("/some/file")


def test_a_file_that_is_not_there_is_told(site: Site, tmp_path: Path) -> None:
    for uri in (str(tmp_path / "gone"), f"{site.url}/gone"):
        for read in (content, lambda uri: opened(uri).__enter__()):
            with pytest.raises(SourceMissingError, match="gone"):
                read(uri)
    with pytest.raises(SourceMissingError, match="gone"):
        has_ranges(f"{site.url}/gone")


def test_a_server_that_stalls_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "STALL_S", 3)
    site.files["/a"] = b"1"
    site.stalls = True
    with pytest.raises(SourceError, match="/a"):
        content(f"{site.url}/a")


def test_an_unknown_protocol_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="nosuch"):
        content("nosuch://bucket/a")


@pytest.mark.parametrize(
    "read", [content, looked_at, lambda name: read_queries(Path(name)), vector_in, token_in]
)
def test_what_would_never_end_is_refused(tmp_path: Path, read: Callable[[str], object]) -> None:
    """As a pipe that nobody writes to, which whoever opens it waits for; or a device."""
    os.mkfifo(pipe := tmp_path / "pipe.npy")
    (zeros := tmp_path / "zeros.txt").symlink_to("/dev/zero")
    for path in (pipe, zeros):
        with pytest.raises(SourceError, match="no file, such as a pipe"):
            read(str(path))
