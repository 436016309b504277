"""Remote files to a local disk, from servers good and bad."""

from pathlib import Path

import pytest

from clip_assets.errors import SourceError
from clip_assets.files import fetching, filesystem
from clip_assets.files.fetching import fetched
from clip_assets.files.identity import looked_at
from clip_assets_tests.websites import Site

CONTENT = bytes(range(256)) * 100


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 1000)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_file_is_fetched_whole_and_once(site: Site, tmp_path: Path, knows_ranges: bool) -> None:
    site.knows_ranges = knows_ranges
    site.files["/a"] = CONTENT
    file = looked_at(f"{site.url}/a")
    copy = fetched(file, tmp_path / "copies")
    assert copy.read_bytes() == CONTENT
    assert list(copy.parent.iterdir()) == [copy]
    site.requests.clear()
    assert fetched(file, tmp_path / "copies") == copy
    assert site.requests == []


def test_a_fetch_that_was_cut_off_goes_on(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = CONTENT
    file = looked_at(f"{site.url}/a")
    whole = fetched(file, tmp_path)
    part = whole.rename(whole.with_suffix(".part"))
    with part.open("r+b") as cut:
        cut.truncate(5500)
    site.requests.clear()
    assert fetched(file, tmp_path).read_bytes() == CONTENT
    asked = [request.split("bytes=")[1] for request in site.requests]
    starts = sorted(int(stretch.split("-")[0]) for stretch in asked if stretch != "0-0")
    assert starts == list(range(5000, len(CONTENT), 1000))


def test_another_version_is_another_copy(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = CONTENT
    before = fetched(looked_at(f"{site.url}/a"), tmp_path)
    site.files["/a"] = CONTENT[::-1]
    site.etags["/a"] = '"2"'
    after = fetched(looked_at(f"{site.url}/a"), tmp_path)
    assert after != before
    assert after.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("lie", ["says_bytes_more", "head_says_bytes_more"])
def test_a_server_that_lies_about_the_length_is_told(
    site: Site, tmp_path: Path, lie: str, knows_ranges: bool
) -> None:
    site.knows_ranges = knows_ranges
    setattr(site, lie, 100)
    site.files["/a"] = CONTENT
    with pytest.raises(SourceError, match="/a"):
        fetched(looked_at(f"{site.url}/a"), tmp_path)


def test_a_server_that_stalls_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "STALL_S", 3)
    site.files["/a"] = CONTENT
    file = looked_at(f"{site.url}/a")
    site.stalls = True
    with pytest.raises(SourceError, match="/a"):
        fetched(file, tmp_path)
