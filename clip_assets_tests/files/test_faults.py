"""Faults of file systems of other libraries, in our own words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from s3fs.core import ClientError
from s3fs.errors import translate_boto_error

from clip_assets.errors import (
    ConfigurationError,
    SourceError,
    SourceMissingError,
    StoreError,
)
from clip_assets.files.faults import is_conflict
from clip_assets.files.identity import looked_at
from clip_assets.partitions.listing import list_sources
from clip_assets.storage.store import Store
from clip_assets_tests.websites import Site

LIST = """
import sys
from clip_assets import settings
from clip_assets.errors import ClipAssetsError
from clip_assets.partitions.listing import list_sources
from clip_assets.storage.store import Store
for use in (list_sources, settings.load, Store.open):
    try:
        use([sys.argv[1]] if use is list_sources else sys.argv[1])
    except ClipAssetsError as error:
        print(type(error).__name__, error)
"""


def test_missing_credentials_are_told(tmp_path: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    alone = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", LIST, "s3://bucket/a.csv"],
        env=variables | alone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [line.split()[0] for line in found] == [
        "SourceError",
        "ConfigurationError",
        "StoreError",
    ]
    assert all("redentials" in line.split("expected")[0] for line in found)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"adlfs.*clip-assets\[s3\]"):
        list_sources(["abfs://container/a.csv"])
    with pytest.raises(ConfigurationError, match="adlfs"):
        Store.open("abfs://container/pool")


def test_a_server_that_nobody_runs_is_told(unused_url: str) -> None:
    with pytest.raises(SourceError, match="network"):
        list_sources([f"{unused_url}/a.csv"])
    with pytest.raises(StoreError):
        Store.open(f"{unused_url}/pool", create=False)


def test_creates_that_meet_are_told_from_other_faults() -> None:
    met = ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    assert is_conflict(translate_boto_error(met))
    assert is_conflict(FileExistsError())
    assert not is_conflict(translate_boto_error(refused))


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_server_that_fails_is_not_called_one_without_the_file(site: Site, status: int) -> None:
    site.status = status
    with pytest.raises(SourceError, match=str(status)) as caught:
        looked_at(f"{site.url}/a.csv")
    assert not isinstance(caught.value, SourceMissingError)


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_a_server_does_not_have_is_missing(site: Site, status: int) -> None:
    site.status = status
    with pytest.raises(SourceMissingError, match=r"a\.csv: found nothing"):
        looked_at(f"{site.url}/a.csv")


def test_a_file_of_a_server_that_nobody_runs_is_not_called_missing(unused_url: str) -> None:
    with pytest.raises(SourceError, match="network") as caught:
        looked_at(f"{unused_url}/a.csv")
    assert not isinstance(caught.value, SourceMissingError)
