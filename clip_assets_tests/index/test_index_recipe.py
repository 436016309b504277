"""The recipe stays as it is while it fits the pool."""

import pytest

from clip_assets import layout
from clip_assets.errors import DamagedError, ModelMismatchError, NotReadyError
from clip_assets.index import recipe_file
from clip_assets.index.index_recipe import index_recipe, index_recipe_inputs
from clip_assets.index.index_segments import INDEX_SEGMENTS
from clip_assets.layout import WHOLE
from clip_assets.storage.manifests import Manifest
from clip_assets_tests.index.conftest import OWN, RandomVectors, model

OTHER = model("n")
"""Another model than the pool's."""
NAMED = rf"another model \(digest {OTHER.digest()[:12]}\).*model-m \(digest {OWN.digest()[:12]}\)"


def inputs(made: RandomVectors) -> dict[str, str]:
    return index_recipe_inputs(made.pool, WHOLE)


def files(made: RandomVectors) -> list[bytes]:
    return [made.store.read_bytes(layout.recipe(side)) for side in layout.SIDES]


def test_a_small_pool_is_indexed_exactly(made_anywhere: RandomVectors) -> None:
    made_anywhere.embed(0, 40)
    figures = made_anywhere.recipe().manifest.report.figures
    assert figures["key"] == recipe_file.read(made_anywhere.store).key == "IDMap2,Flat"
    assert figures["decision"] == "new: there was none"
    assert "exact" in figures["why"]


@pytest.mark.parametrize("flat_limit", [50_000, 100])
def test_new_partitions_change_neither_recipe_nor_old_segments(
    made: RandomVectors, flat_limit: int
) -> None:
    made.set(index={"flat_limit": flat_limit})
    first = made.embed(0, 200)
    made.recipe()
    made.segment()
    before = inputs(made), files(made)
    made.embed(1, 300)
    made.embed(2, 300)
    outcome = made.recipe()
    assert outcome.reused
    assert outcome.manifest.report.figures["decision"].startswith("kept: 800 vectors, fits up to")
    assert (inputs(made), files(made)) == before
    assert INDEX_SEGMENTS.state(made.pool, first) == "done"


def test_inputs_are_those_of_the_manifest(made: RandomVectors) -> None:
    made.embed(0, 40)
    expected = inputs(made)
    assert made.recipe().manifest.inputs == expected == inputs(made)


def test_crossing_the_flat_limit_renews_it(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 100})
    made.embed(0, 100)
    assert made.recipe().manifest.report.figures["key"] == "IDMap2,Flat"
    made.embed(1, 1)
    figures = made.recipe().manifest.report.figures
    assert figures["key"] == "IVF1,Flat"
    assert figures["decision"] == "new: 101 vectors are more than it fits (100)"


def test_growing_more_than_fourfold_renews_it(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 10})
    made.embed(0, 100)
    made.recipe()
    made.embed(1, 300)
    assert made.recipe().reused
    made.embed(2, 1)
    assert (
        "401 vectors are more than 4 times the 100"
        in made.recipe().manifest.report.figures["decision"]
    )


@pytest.mark.parametrize("change", [{"flat_limit": 7}, {"max_memory_bytes": 2**21}])
def test_other_settings_renew_it(made: RandomVectors, change: dict[str, int]) -> None:
    made.embed(0, 40)
    made.recipe()
    made.set(index=change)
    assert made.recipe().manifest.report.figures["decision"] == "new: settings of the index changed"
    made.set(index={"keep_versions": 9, "missing_partitions": "refuse"})
    assert made.recipe().reused


def test_another_model_renews_it(made: RandomVectors) -> None:
    made.embed(0, 40)
    made.recipe()
    made.store.delete(layout.MODEL)
    made.embed(0, 40, model=OTHER)
    figures = made.recipe().manifest.report.figures
    assert figures["decision"] == "new: the pool was embedded by another model"
    assert figures["model"] == OTHER.digest()
    assert figures["model_name"].startswith("model-n (digest ")


def test_two_models_are_refused_with_both_named(made: RandomVectors) -> None:
    made.embed(0, 10)
    made.embed(1, 10, model=OTHER)
    with pytest.raises(ModelMismatchError, match=NAMED):
        made.recipe()


def test_nothing_embedded_is_not_ready(made: RandomVectors) -> None:
    made.plan(0)
    with pytest.raises(NotReadyError, match="no embedded partition"):
        index_recipe(made.pool, WHOLE)


def test_training_gives_the_same_bytes_again(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 10, "train_limit": 100})
    made.embed(0, 150)
    made.embed(1, 150)
    made.recipe()
    before = files(made)
    made.store.delete(layout.manifest(layout.INDEX_RECIPE))
    made.recipe()
    assert files(made) == before
    assert recipe_file.read(made.store).sampled == 100


def test_a_pool_without_images_has_an_empty_exact_index(made: RandomVectors) -> None:
    made.embed(0, 0)
    assert made.recipe().manifest.report.figures["key"] == "IDMap2,Flat"


@pytest.mark.parametrize("flat_limit", [1000, 50])
def test_a_lost_recipe_comes_out_of_a_segment_whatever_became_of_the_pool(
    made: RandomVectors, flat_limit: int
) -> None:
    made.set(index={"flat_limit": flat_limit})
    made.embed(0, 100)
    made.embed(1, 100)
    manifest = made.recipe().manifest
    made.segment()
    made.embed(0, 100, content="other")
    _lose_and_mend(made, manifest, layout.recipe("image"))


def test_a_lost_recipe_is_trained_again_where_there_is_no_segment(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 50})
    made.embed(0, 100)
    manifest = made.recipe().manifest
    made.embed(1, 20)
    for output in manifest.outputs:
        _lose_and_mend(made, manifest, output.path)
    made.embed(0, 100, content="other")
    with pytest.raises(DamagedError, match=f"remove manifests/{layout.INDEX_RECIPE}.json"):
        _lose_and_mend(made, manifest, layout.recipe("text"))


def _lose_and_mend(made: RandomVectors, manifest: Manifest, path: str) -> None:
    before = made.store.read_bytes(path)
    made.store.delete(path)
    index_recipe(made.pool.mending(manifest, [path]), WHOLE)
    assert made.store.read_bytes(path) == before
