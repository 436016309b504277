"""What tells a file from its successor, whoever holds it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_assets.errors import SourceMissingError
from clip_assets.files.identity import looked_at
from clip_assets.files.listing import listed
from clip_assets_tests.servers import Bucket, Hub
from clip_assets_tests.websites import Site


def test_a_local_file_is_told_by_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"url\n1\n")
    first = looked_at(str(path))
    os.utime(path, ns=(1, 1))
    touched = looked_at(str(path))
    path.write_bytes(b"url\n")
    os.utime(path, ns=(1, 1))
    shorter = looked_at(str(path))
    assert len({first.etag, touched.etag, shorter.etag}) == 3
    assert (shorter.uri, shorter.size_bytes, shorter.is_gone) == (str(path), 4, False)


@pytest.fixture
def etags(site: Site) -> Callable[[int], str]:
    def put(version: int) -> str:
        site.files["/a"] = b"1234"
        site.etags["/a"] = f'"{version}"'
        return f"{site.url}/a"

    return put


@pytest.fixture
def times(site: Site) -> Callable[[int], str]:
    def put(version: int) -> str:
        site.files["/a"] = b"1234"
        site.changed_at = f"Mon, 0{version} Jan 2024 00:00:00 GMT"
        return f"{site.url}/a"

    return put


@pytest.fixture
def blobs(hub: Hub) -> Callable[[int], str]:
    def put(version: int) -> str:
        hub.files["some/data"] = {"a": b"123%d" % version}
        return "hf://datasets/some/data/a"

    return put


def check(put: Callable[[int], str]) -> str:
    """That versions of a file of one size are told apart; returns the last one's etag."""
    before = looked_at(put(1))
    after = looked_at(put(2))
    assert (after.uri, after.size_bytes) == (before.uri, before.size_bytes) == (before.uri, 4)
    assert after.etag != before.etag
    assert looked_at(after.uri) == after
    return after.etag


@pytest.mark.parametrize("holder", ["etags", "times", "blobs"])
def test_a_file_of_the_same_size_is_told_by_a_tag(
    request: pytest.FixtureRequest, holder: str
) -> None:
    check(request.getfixturevalue(holder))


@pytest.mark.filterwarnings("ignore:Sending a large body")  # gcsfs's own
def test_a_file_of_a_bucket_is_told_by_a_tag_and_listed_with_it(bucket: Bucket) -> None:
    etag = check(lambda version: bucket.put("a", b"123%d" % version))
    assert [file.etag for file in listed(bucket.url, lambda _: True)] == [etag]


def test_a_file_of_the_hub_is_listed_with_its_tag(blobs: Callable[[int], str]) -> None:
    file = looked_at(blobs(1))
    assert listed("hf://datasets/some/data", lambda _: True) == [file]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="gone"):
        looked_at(str(tmp_path / "gone"))
