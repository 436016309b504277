"""A pool whose shards are embedded with the small model."""

import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.settings import InferenceSettings
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import made_up
from clip_assets_tests.upstream import MadeUp


@pytest.fixture
def made(store: Store, inference: InferenceSettings, encoder: Encoder) -> MadeUp:
    """A pool without shards, on a disk and on an object store."""
    return made_up(store, inference, lambda: encoder)


@pytest.fixture
def local_made(local_store: Store, inference: InferenceSettings, encoder: Encoder) -> MadeUp:
    """A pool without shards on a disk."""
    return made_up(local_store, inference, lambda: encoder)
