"""Files that never change: read where they are, or fetched once by url and hash."""

import hashlib
from pathlib import Path

import pytest

from clip_assets.errors import ConfigurationError, SourceChangedError, SourceMissingError
from clip_assets.files.pinned import pinned
from clip_assets_tests.websites import Site

CONTENT = b"weights" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_url_is_fetched_once(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = CONTENT
    first = pinned(f"{site.url}/a.bin#sha256={DIGEST}", {})
    assert first.read_bytes() == CONTENT
    site.requests.clear()
    # By its name too, and whatever the server has by now.
    site.files["/a.bin"] = b"other"
    assert pinned(f"{site.url}/a.bin", {"a.bin": DIGEST}) == first
    assert site.requests == []
    assert list(cache.rglob("*.bin")) == []


def test_another_file_is_refused_and_not_kept(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = CONTENT[:-1]
    with pytest.raises(SourceChangedError, match=DIGEST):
        pinned(f"{site.url}/a.bin#sha256={DIGEST}", {})
    assert not [path for path in cache.rglob("*") if path.is_file()]
    site.files["/a.bin"] = CONTENT
    assert pinned(f"{site.url}/a.bin#sha256={DIGEST}", {}).read_bytes() == CONTENT


def test_a_url_needs_a_hash(site: Site) -> None:
    with pytest.raises(ConfigurationError, match=r"/a\.bin#sha256= and 64 hex digits"):
        pinned(f"{site.url}/a.bin", {"b.bin": DIGEST})
    assert site.requests == []


def test_a_path_is_read_where_it_is(tmp_path: Path) -> None:
    (file := tmp_path / "a.bin").write_bytes(CONTENT)
    assert pinned(str(file), {}) == pinned(f"{file}#sha256={DIGEST.upper()}", {}) == file
    # One that has the name of a published file is that file, or was cut off.
    file.write_bytes(CONTENT[:-1])
    assert pinned(str(file), {}) == file
    with pytest.raises(SourceChangedError, match=DIGEST):
        pinned(str(file), {"a.bin": DIGEST})
    with pytest.raises(SourceMissingError, match=r"b\.bin"):
        pinned(str(tmp_path / "b.bin"), {})
