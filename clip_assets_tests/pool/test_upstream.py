"""What an asset that is made from all keys of another one finds."""

import pytest

from clip_assets import layout
from clip_assets.pool.upstream import Upstream, upstream
from clip_assets.storage.manifests import Failure, Manifest, Report
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp


def test_keys_are_sorted_by_what_became_of_them_in_their_order(made: MadeUp) -> None:
    keys = made.plan(0, 1, 2, 3, 4)
    for key in reversed(keys[:4]):
        made.make(layout.POOL_METADATA, key, 1, {})
    for key in (keys[2], keys[0]):
        made.outdate(layout.POOL_METADATA, key)
    assert upstream(made.pool, layout.POOL_METADATA) == Upstream(
        done=keys[:4], current=[keys[1], keys[3]], stale=[keys[0], keys[2]], missing=[keys[4]]
    )


def test_a_failure_does_not_hide_what_is_done(made: MadeUp) -> None:
    (key, other) = made.plan(0, 1)
    made.make(layout.POOL_METADATA, key, 1, {})
    for failed in (key, other):
        failure = Failure("SourceError", "gone", "2026-01-01")
        made.pool.catalog.put_failure(layout.POOL_METADATA, failed, failure)
    found = upstream(made.pool, layout.POOL_METADATA)
    assert (found.done, found.current, found.missing) == ([key], [key], [other])


def test_an_empty_pool_has_nothing_upstream(made: MadeUp) -> None:
    assert upstream(made.pool, layout.POOL_METADATA) == Upstream([], [], [], [])


def test_keys_are_those_of_the_axis(made: MadeUp) -> None:
    made.plan(0)
    assert upstream(made.pool, layout.SUBSETS).missing == ["no_filter", "basic_filter"]
    assert upstream(made.pool, layout.INDEX_RECIPE).missing == [layout.WHOLE]


def test_manifests_are_read_together(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made.plan(*range(5))
    for key in keys:
        made.make(layout.IMAGE_SHARDS, key, 1, {})
        made.pool.catalog.put(
            Manifest(layout.EMBEDDINGS, key, "1", {}, [], Report(1, 1), 0.1, 1, "now")
        )
    read: list[str] = []
    read_bytes = Store.read_bytes

    def noted(store: Store, path: str) -> bytes:
        read.append(path)
        return read_bytes(store, path)

    monkeypatch.setattr(Store, "read_bytes", noted)
    assert upstream(made.pool, layout.EMBEDDINGS).stale == keys
    assert [path for path in read if path.startswith("manifests/")] == []
