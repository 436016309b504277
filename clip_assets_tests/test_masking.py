"""No password, signature or token of a url is told."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import ImageError, SourceError
from clip_assets.masking import masked
from clip_assets.orchestration.resources import PoolResource

S3 = (
    "https://b.s3.amazonaws.com/a.csv?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=S3CRET&X-Amz-Expires=60&X-Amz-Signature=S3CRET&versionId=7"
)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:S3CRET@host:8443/a.csv",
        "https://S3CRET@host/a.csv",
        "https://user:p@S3CRET@host/a.csv",
        "s3://KEY:S3CRET@bucket/a",
        "filecache::https://user:S3CRET@host/a.csv",
        S3,
        S3.replace("-", "%2D"),
        "https://b.s3.amazonaws.com/a?AWSAccessKeyId=S3CRET&Signature=S3CRET%3D&Expires=1",
        "https://storage.googleapis.com/b/a?GoogleAccessId=S3CRET&X-Goog-Signature=S3CRET",
        "https://x.blob.core.windows.net/c/a.csv?sv=2024-08-04&se=2026-01-01&sp=r&sig=S3CRET%3D",
        "https://cdn/a.csv?Policy=S3CRET__&Signature=S3CRET~&Key-Pair-Id=S3CRET",
        "https://h/a.csv?token=S3CRET",
        "https://h/a.csv?a=1;access_token=S3CRET",
        "https://h/a.csv#access_token=S3CRET",
        "https://h/a.csv?API-KEY=S3CRET&key=S3CRET",
        "https://h/a.csv?password=S3CRET&auth=S3CRET",
    ],
)
def test_secrets_are_masked_and_the_rest_is_told(url: str) -> None:
    for text in (url, f"a '{url}' b", f"{url}: found nothing. Look", f'{{"uri": "{url}"}}'):
        told = masked(text)
        assert "S3CRET" not in told
        assert "***" in told
        assert masked(told) == told
        assert text.startswith(url) == told.startswith(masked(url))
    assert masked(f"{url}: found nothing. Look") == f"{masked(url)}: found nothing. Look"


def test_what_tells_files_apart_is_left() -> None:
    told = masked(S3)
    for part in ("b.s3.amazonaws.com/a.csv", "X-Amz-Expires=60", "versionId=7"):
        assert part in told


@pytest.mark.parametrize(
    "text",
    [
        "https://h/a.csv?design=new&keyword=cat&monkey=1&page=2",
        "https://h/@user/a.jpg",
        "sftp://user@host/a.csv",
        "pairs/key=1/part-0.parquet",
        "a@b.c wrote sig=1",
        "what=? why",
    ],
)
def test_other_text_is_left(text: str) -> None:
    assert masked(text) == text


@given(st.text())
def test_masking_twice_changes_nothing(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize("kind", [SourceError, ImageError])
def test_errors_hold_no_secret_and_survive_pickling(kind: type[SourceError | ImageError]) -> None:
    error = kind(S3, f"ClientError: {S3}", "a file", f"Look at {S3}.")
    assert "S3CRET" not in f"{error} {error!r} {error.__dict__}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_root_with_a_secret_is_not_part_of_what_dagster_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIP_ASSETS_ROOT", "")
    root = "memory://user:s3cret@host/pool"
    assert PoolResource.of("memory://host/pool", "").root == "memory://host/pool"
    resource = PoolResource.of(root, "")
    assert "s3cret" not in repr(resource)
    assert resource.open().settings.root == root
