"""Digests of files wherever they lie."""

from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.storage.store import Store
from clip_assets.verification.verify_pool import verify
from clip_assets_tests.servers import Bucket
from clip_assets_tests.upstream import MadeUp

P = layout.partition_key(0)
TAR = layout.shard_tar(P, 0)


def altered(made: MadeUp) -> list[tuple[str, str]]:
    """What verifying finds of a tar whose bytes are others of the same length."""

    def write(part: Path) -> None:
        part.write_bytes(b"a" * 100_000)

    made.make(layout.IMAGE_SHARDS, P, 1, {TAR: write, layout.shard_stats(P, 0): write})
    assert verify(made.pool, deep=True).damaged == []
    made.store.write_bytes(TAR, b"a" * 99_999 + b"b")
    assert verify(made.pool).damaged == []
    return [(damage.path, damage.kind) for damage in verify(made.pool, deep=True).damaged]


def test_other_bytes_of_the_same_length_are_seen_by_reading(made: MadeUp) -> None:
    assert altered(made) == [(TAR, "bytes")]


@pytest.mark.slow
def test_other_bytes_in_a_bucket_too(bucket: Bucket) -> None:
    assert altered(MadeUp(Store.open(bucket.url))) == [(TAR, "bytes")]
