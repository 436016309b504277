"""The recipe stays as it is while it fits the pool."""

import pytest

from clip_assets import layout
from clip_assets.errors import ModelMismatchError, NotReadyError
from clip_assets.index import index_recipe as recipe
from clip_assets.index.index_recipe import index_recipe, index_recipe_inputs
from clip_assets.index.index_segments import INDEX_SEGMENTS, index_segments_inputs


def inputs(pool) -> dict[str, str]:
    return index_recipe_inputs(pool.catalog, pool.partitions, pool.settings)


def files(pool) -> list[bytes]:
    return [pool.store.read_bytes(layout.recipe(side)) for side in layout.SIDES]


def test_a_small_pool_is_indexed_exactly(any_pool) -> None:
    any_pool.embed(0, 40)
    figures = any_pool.recipe().manifest.report.figures
    assert figures["key"] == recipe.read(any_pool.store).key == "IDMap2,Flat"
    assert figures["decision"] == "new: there was none"
    assert "exact" in figures["why"]


@pytest.mark.parametrize("flat_limit", [50_000, 100])
def test_new_partitions_change_neither_recipe_nor_old_segments(pool, flat_limit: int) -> None:
    pool.set(flat_limit=flat_limit)
    first = pool.embed(0, 200)
    pool.recipe()
    pool.segment()
    before = inputs(pool), files(pool)
    pool.embed(1, 300)
    pool.embed(2, 300)
    outcome = pool.recipe()
    assert outcome.reused
    assert outcome.manifest.report.figures["decision"].startswith("kept: 800 vectors, fits up to")
    assert (inputs(pool), files(pool)) == before
    state = pool.catalog.state(
        INDEX_SEGMENTS.asset,
        first,
        INDEX_SEGMENTS.version,
        index_segments_inputs(pool.catalog, first),
    )
    assert state == "done"


def test_inputs_are_those_of_the_manifest(pool) -> None:
    pool.embed(0, 40)
    expected = inputs(pool)
    assert pool.recipe().manifest.inputs == expected == inputs(pool)


def test_crossing_the_flat_limit_renews_it(pool) -> None:
    pool.set(flat_limit=100)
    pool.embed(0, 100)
    assert pool.recipe().manifest.report.figures["key"] == "IDMap2,Flat"
    pool.embed(1, 1)
    figures = pool.recipe().manifest.report.figures
    assert figures["key"] == "IVF2,Flat"
    assert figures["decision"] == "new: 101 vectors are more than it fits (100)"


def test_growing_more_than_fourfold_renews_it(pool) -> None:
    pool.set(flat_limit=10)
    pool.embed(0, 100)
    pool.recipe()
    pool.embed(1, 300)
    assert pool.recipe().reused
    pool.embed(2, 1)
    assert "401 vectors are more" in pool.recipe().manifest.report.figures["decision"]


@pytest.mark.parametrize("change", [{"flat_limit": 7}, {"max_memory_bytes": 2**21}])
def test_other_settings_renew_it(pool, change: dict) -> None:
    pool.embed(0, 40)
    pool.recipe()
    pool.set(**change)
    assert pool.recipe().manifest.report.figures["decision"] == "new: settings of the index changed"
    pool.set(keep_versions=9, missing_partitions="refuse")
    assert pool.recipe().reused


def test_another_model_renews_it(pool) -> None:
    pool.embed(0, 40)
    pool.recipe()
    pool.embed(0, 40, model="n" * 64)
    figures = pool.recipe().manifest.report.figures
    assert figures["decision"] == "new: the pool was embedded by another model"
    assert figures["model"] == "n" * 64


def test_two_models_are_refused_with_both_named(pool) -> None:
    pool.embed(0, 10)
    pool.embed(1, 10, model="n" * 64)
    with pytest.raises(ModelMismatchError, match=r"model-nnn.*model-mmm"):
        pool.recipe()


def test_nothing_embedded_is_not_ready(pool) -> None:
    with pytest.raises(NotReadyError, match="no embedded partition"):
        index_recipe(pool.catalog, [layout.partition_key(0)], pool.settings)


def test_training_gives_the_same_bytes_again(pool) -> None:
    pool.set(flat_limit=10, train_limit=100)
    pool.embed(0, 150)
    pool.embed(1, 150)
    pool.recipe()
    before = files(pool)
    pool.store.delete(layout.manifest("index_recipe"))
    pool.recipe()
    assert files(pool) == before
    assert recipe.read(pool.store).sampled == 100


def test_a_pool_without_images_has_an_empty_exact_index(pool) -> None:
    pool.embed(0, 0)
    assert pool.recipe().manifest.report.figures["key"] == "IDMap2,Flat"
