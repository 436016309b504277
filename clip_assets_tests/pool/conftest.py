"""A pool whose one asset is the test's own."""

from collections.abc import Callable

import pytest

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.settings import Settings
from clip_assets.storage.store import Store

NewPool = Callable[[], Pool]


def unused(pool: Pool, key: Key) -> Outcome:
    """How an asset is made that no test asks to be made by itself."""
    raise AssertionError(f"{key} of {pool.store.uri()}")


def asset(name: str = layout.RAW_PAIRS, version: str = "1", **inputs: str) -> Asset:
    """An asset made from these inputs, all of which are settings."""

    def today(pool: Pool, key: Key) -> Inputs:
        del pool, key
        return inputs

    return Asset(name, version, make=unused, inputs=today, settings=tuple(inputs))


@pytest.fixture
def new_pool(store: Store) -> NewPool:
    """``new_pool()``: the same pool as another command sees it, which starts now."""
    return lambda: Pool(store, Settings(), {})


@pytest.fixture
def pool(new_pool: NewPool) -> Pool:
    """An empty pool, on a disk and on an object store."""
    return new_pool()
