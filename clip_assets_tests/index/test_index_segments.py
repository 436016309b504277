"""A partition's vectors are encoded as the recipe says, or refused."""

import faiss
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.errors import (
    AlignmentError,
    CheckFailedError,
    MissingArtifactError,
    ModelMismatchError,
    SchemaError,
)
from clip_assets.index.index_segments import index_segments, index_segments_inputs
from clip_assets.storage import vectors


def overwrite(pool, path: str, array: np.ndarray) -> None:
    with pool.store.publish(path) as part:
        vectors.write(part, [array], *array.shape)


@pytest.mark.parametrize("flat_limit", [1000, 10])
def test_row_i_is_id_i_on_both_sides(any_pool, flat_limit: int) -> None:
    any_pool.set(flat_limit=flat_limit)
    key = any_pool.embed(0, 90)
    any_pool.recipe()
    report = index_segments(any_pool.catalog, key).manifest.report
    assert (report.rows_in, report.rows_out) == (90, 90)
    for side in layout.SIDES:
        with any_pool.store.local(layout.segment(side, key)) as file:
            segment = faiss.read_index(str(file))
        found = segment.search(any_pool.vectors(key, side).astype(np.float32), 1)[1]
        assert found[:, 0].tolist() == list(range(90))


def test_a_partition_without_rows_is_an_empty_segment(pool) -> None:
    pool.embed(0, 5)
    key = pool.embed(1, 0)
    pool.recipe()
    assert index_segments(pool.catalog, key).manifest.report.rows_out == 0


def test_the_recipe_must_be_there(pool) -> None:
    key = pool.embed(0, 5)
    with pytest.raises(MissingArtifactError, match="index_recipe"):
        index_segments(pool.catalog, key)
    assert index_segments_inputs(pool.catalog, layout.partition_key(9))["embeddings"] == "absent"


def test_another_model_is_refused_with_both_named(pool) -> None:
    pool.embed(0, 5)
    pool.recipe()
    key = pool.embed(1, 5, model="n" * 64)
    with pytest.raises(ModelMismatchError, match=r"model-nnn.*model-mmm"):
        index_segments(pool.catalog, key)


def test_another_dimension_is_refused(pool) -> None:
    pool.embed(0, 5)
    pool.recipe()
    key = pool.embed(1, 5, dim=8)
    with pytest.raises(SchemaError, match="found dim 8, expected dim 16"):
        index_segments(pool.catalog, key)


def test_rows_and_vectors_must_be_as_many(pool) -> None:
    key = pool.embed(0, 5)
    pool.recipe()
    overwrite(pool, layout.text_emb(key), pool.vectors(key, "text")[:4])
    with pytest.raises(AlignmentError, match="4 vectors, expected 5"):
        index_segments(pool.catalog, key)


def test_a_vector_that_is_not_finite_is_refused(pool) -> None:
    key = pool.embed(0, 5)
    pool.recipe()
    broken = pool.vectors(key)
    broken[3, 2] = np.nan
    overwrite(pool, layout.img_emb(key), broken)
    with pytest.raises(CheckFailedError, match="not finite in row 3"):
        index_segments(pool.catalog, key)
