"""A pool in which pairs, shards and embeddings are made up."""

import pytest

from clip_assets.storage.store import Store
from clip_assets_tests.outcomes import Outcomes


@pytest.fixture
def made(local_store: Store) -> Outcomes:
    """An empty pool on a disk."""
    return Outcomes(local_store)


@pytest.fixture
def made_anywhere(store: Store) -> Outcomes:
    """An empty pool, on a disk and on an object store."""
    return Outcomes(store)
