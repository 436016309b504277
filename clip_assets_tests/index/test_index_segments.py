"""A partition's vectors are encoded as the recipe says, or refused."""

import faiss
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.errors import (
    AlignmentError,
    CheckFailedError,
    DamagedError,
    MissingArtifactError,
    ModelMismatchError,
    SchemaError,
)
from clip_assets.index.index_segments import index_segments, index_segments_inputs
from clip_assets.storage import vectors
from clip_assets_tests.index.conftest import OWN, RandomVectors, model

OTHER = model("n")
"""Another model than the pool's."""
NAMED = rf"another model \(digest {OTHER.digest()[:12]}\).*model-m \(digest {OWN.digest()[:12]}\)"


def overwrite(made: RandomVectors, path: str, array: np.ndarray) -> None:
    with made.store.publish(path) as part:
        vectors.write(part, [array], *array.shape)


@pytest.mark.parametrize("flat_limit", [1000, 10])
def test_row_i_is_id_i_on_both_sides(made_anywhere: RandomVectors, flat_limit: int) -> None:
    made_anywhere.set(index={"flat_limit": flat_limit})
    key = made_anywhere.embed(0, 90)
    made_anywhere.recipe()
    report = index_segments(made_anywhere.pool, key).manifest.report
    assert (report.rows_in, report.rows_out) == (90, 90)
    for side in layout.SIDES:
        with made_anywhere.store.local(layout.segment(side, key)) as file:
            segment = faiss.read_index(str(file))
        nearest = segment.search(made_anywhere.vectors(key, side).astype(np.float32), 1)[1]
        assert nearest[:, 0].tolist() == list(range(90))
        if side == "image" and flat_limit < 90:
            inverted = faiss.extract_index_ivf(segment).invlists
            with made_anywhere.store.local(layout.segment_lists(key)) as file:
                lists = np.load(file)
            for number in range(inverted.nlist):
                ids = faiss.rev_swig_ptr(inverted.get_ids(number), inverted.list_size(number))
                assert np.flatnonzero(lists == number).tolist() == sorted(ids)
    assert made_anywhere.store.exists(layout.segment_lists(key)) == (flat_limit < 90)


def test_the_index_tells_how_far_it_is(
    made: RandomVectors, caplog: pytest.LogCaptureFixture
) -> None:
    made.set(index={"flat_limit": 10})
    key = made.embed(0, 90)
    with caplog.at_level("INFO"):
        made.index()
    told = [record.getMessage() for record in caplog.records]
    assert f"index_segments {key}: 90 of 90 rows of {layout.text_emb(key)} encoded" in told
    assert f"index_segments {key}: 90 of 90 rows of {layout.img_emb(key)} put into lists" in told
    assert any("index_recipe: 1 of 2 sides trained" in line for line in told)
    assert sum("of 2 kinds of queries measured" in line for line in told) == 2 * len(layout.SIDES)


def test_a_partition_without_rows_has_no_segment(made: RandomVectors) -> None:
    made.embed(0, 5)
    key = made.embed(1, 0)
    made.recipe()
    manifest = index_segments(made.pool, key).manifest
    assert (manifest.report.rows_out, manifest.outputs) == (0, [])


def test_the_recipe_must_be_there(made: RandomVectors) -> None:
    key = made.embed(0, 5)
    with pytest.raises(MissingArtifactError, match="index_recipe"):
        index_segments(made.pool, key)
    assert index_segments_inputs(made.pool, layout.partition_key(9))["embeddings"] == "absent"


def test_another_model_is_refused_with_both_named(made: RandomVectors) -> None:
    made.embed(0, 5)
    made.recipe()
    key = made.embed(1, 5, model=OTHER)
    with pytest.raises(ModelMismatchError, match=NAMED):
        index_segments(made.pool, key)


def test_another_dimension_is_refused(made: RandomVectors) -> None:
    made.embed(0, 5)
    made.recipe()
    key = made.embed(1, 5, dim=8)
    with pytest.raises(SchemaError, match="found dim 8, expected dim 16"):
        index_segments(made.pool, key)


def test_rows_and_vectors_must_be_as_many(made: RandomVectors) -> None:
    key = made.embed(0, 5)
    made.recipe()
    overwrite(made, layout.text_emb(key), made.vectors(key, "text")[:4])
    made.record_files(layout.EMBEDDINGS, key)
    with pytest.raises(AlignmentError, match="4 vectors, expected 5"):
        index_segments(made.pool, key)


def test_a_vector_that_is_not_finite_is_refused(made: RandomVectors) -> None:
    key = made.embed(0, 5)
    made.recipe()
    broken = made.vectors(key)
    broken[3, 2] = np.nan
    overwrite(made, layout.img_emb(key), broken)
    with pytest.raises(DamagedError, match="other bytes than were published"):
        index_segments(made.pool, key)
    made.record_files(layout.EMBEDDINGS, key)
    with pytest.raises(CheckFailedError, match="not finite in row 3"):
        index_segments(made.pool, key)
