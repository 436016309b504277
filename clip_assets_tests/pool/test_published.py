"""Damage that listings show, on a disk and on an object store."""

from functools import partial
from pathlib import Path

import pytest

from clip_assets import doctor, layout, status
from clip_assets.layout import WHOLE
from clip_assets.pool import published
from clip_assets.storage.manifests import UNFINISHED
from clip_assets_tests.upstream import MadeUp

P, Q = layout.partition_key(0), layout.partition_key(1)


def write(content: bytes, part: Path) -> None:
    part.write_bytes(content)


@pytest.fixture
def pairs(made: MadeUp) -> MadeUp:
    """A pool of two partitions whose subset is done too."""
    for key in (P, Q):
        made.make(layout.IMAGE_SHARDS, key, 1, {layout.shard_tar(key, 0): partial(write, b"12345")})
    picture = layout.picture(layout.METADATA_STATS, WHOLE, "a.png")
    files = {layout.stats_report(): partial(write, b"page"), picture: partial(write, b"png")}
    made.make(layout.METADATA_STATS, WHOLE, 1, files)
    return made


def kinds(made: MadeUp, *, pictures: bool = False) -> dict[str, str]:
    return {d.path: d.kind for d in published.damaged(made.pool, pictures=pictures)}


def test_a_whole_pool_has_no_damage(pairs: MadeUp) -> None:
    assert kinds(pairs, pictures=True) == {}
    assert status.report(pairs.pool)["damaged"] == []


def test_files_that_are_gone_or_cut_are_named(pairs: MadeUp) -> None:
    pairs.store.delete(layout.shard_tar(P, 0))
    pairs.store.write_bytes(layout.shard_tar(Q, 0), b"1234")
    picture = layout.picture(layout.METADATA_STATS, WHOLE, "a.png")
    pairs.store.delete(picture)
    damaged = {layout.shard_tar(P, 0): "gone", layout.shard_tar(Q, 0): "size"}
    assert kinds(pairs) == damaged
    assert kinds(pairs, pictures=True) == damaged | {picture: "gone"}
    text = status.as_text(status.report(pairs.pool))
    assert f"damaged: image_shards {P}: {layout.shard_tar(P, 0)} is gone; it had 5 bytes" in text
    assert "has 4 bytes, not 5" in text
    assert text.endswith("next: clip-assets verify, then clip-assets verify --repair")
    found = {finding.subject: finding for finding in doctor.examine(pairs.pool)}
    assert not found["files"].is_good
    assert layout.shard_tar(P, 0) in found["files"].text


def test_what_is_being_made_again_is_not_damaged(pairs: MadeUp) -> None:
    pairs.store.delete(layout.shard_tar(P, 0))
    pool = pairs.pool
    pool.catalog.invalidate(pool.catalog.require(layout.IMAGE_SHARDS, P), UNFINISHED)
    assert published.damaged(pool) == [], "the manifest changed since it was read"
    assert kinds(pairs) == {}
