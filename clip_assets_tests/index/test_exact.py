"""The vectors behind an index are those that it was made of, or none."""

from contextlib import ExitStack

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.index import versions
from clip_assets.index.exact import ExactVectors
from clip_assets.storage.manifests import UNFINISHED
from clip_assets_tests.index.conftest import DIM, RandomVectors
from clip_assets_tests.vectors import write_vectors

ROWS = 30


@pytest.fixture
def indexed(made: RandomVectors) -> RandomVectors:
    made.embed(0, ROWS)
    made.index()
    return made


def test_a_partition_that_is_embedded_anew_while_its_pool_is_open_has_no_vectors(
    indexed: RandomVectors,
) -> None:
    slots, pool = versions.read(indexed.store, indexed.index()).slots, indexed.pool
    [key] = pool.partitions
    before = indexed.vectors(key)
    with ExitStack() as stack:
        images, texts = (ExactVectors(pool, slots, side, stack) for side in layout.SIDES)
        images.rows(np.arange(3), DIM)
        indexed.embed(0, ROWS, content="other")
        assert np.isnan(texts.rows(np.arange(ROWS), DIM)).all()
        # What is open is what it was.
        assert images.rows(np.arange(ROWS), DIM).tolist() == before.tolist()


def test_a_partition_whose_embedding_was_cut_off_has_no_vectors(indexed: RandomVectors) -> None:
    slots = versions.read(indexed.store, indexed.index()).slots
    [key] = indexed.pool.partitions
    catalog = indexed.pool.catalog
    catalog.invalidate(catalog.require(layout.EMBEDDINGS, key), UNFINISHED)
    other, _ = indexed.drawn("other", ROWS, DIM)
    with indexed.store.publish(layout.img_emb(key)) as part:
        write_vectors(part, other)
    with ExitStack() as stack:
        exact = ExactVectors(indexed.pool, slots, "image", stack)
        assert np.isnan(exact.rows(np.arange(ROWS), DIM)).all()
