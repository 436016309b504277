"""The kind of an index is chosen by what each finds of a sample, and the table is kept."""

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.index import trials
from clip_assets.index.engine import kinds
from clip_assets.index.engine.kinds import Choice
from clip_assets.index.trials import Tried
from clip_assets.layout import WHOLE
from clip_assets.settings import IndexSettings
from clip_assets_tests.index.conftest import RandomVectors
from clip_assets_tests.vectors import unit, unit_rows


def result(key: str, recall: float) -> Tried:
    found = {"1": 1.0, "10": recall, "100": recall}
    return Tried(key, 1, {"text": found, "image": found}, {"text": 0.5}, 10.0, 1.0)


@pytest.mark.parametrize(
    ("recalls", "expected"), [((0.9, 0.902, 0.8), "a"), ((0.9, 0.96, 0.8), "b")]
)
def test_of_kinds_that_find_as_much_the_most_exact_is_taken(
    recalls: tuple[float, ...], expected: str
) -> None:
    choices = [Choice(key, "", 8, 100) for key in "abc"]
    results = [result(key, recall) for key, recall in zip("abc", recalls, strict=True)]
    assert trials.best(choices, results).key == expected


def test_of_as_many_bytes_the_kind_that_is_compared_fast_is_taken() -> None:
    choices = [Choice("large", "", 80, 100), Choice("PQ32", "", 40, 100)]
    choices += [Choice("PQ64x4", "", 40, 100)]
    results = [result("", recall) for recall in (0.8, 0.902, 0.9)]
    assert trials.best(choices, results).key == "PQ64x4"
    assert trials.best(choices[:2], results[:2]).key == "PQ32"


def test_codes_of_the_directions_that_vary_find_more_than_codes_of_all() -> None:
    dim = 64
    scale = np.arange(1, dim + 1) ** -0.7
    rows = unit(unit_rows(1, 3_000, dim) * scale)
    queries = {
        kind: unit(unit_rows(seed, 60, dim) * scale) for seed, kind in enumerate(layout.SIDES)
    }
    settings = IndexSettings(max_memory_bytes=2**20, flat_limit=1)
    fitting = kinds.fitting(20_000, dim, 16, settings)
    assert [choice.key for choice in fitting] == [
        "RR64,IVF16,RaBitQ",
        "P32,RR32,IVF16,PQ8",
        "P16,RR16,IVF16,PQ8",
        "IVF16,PQ8",
        "P32,RR32,IVF16,PQ16x4",
    ]
    results = {one.key: one for one in trials.tried(fitting, rows, queries, 3_000)}
    plain, projected = results["IVF16,PQ8"], results["P32,RR32,IVF16,PQ8"]
    assert projected.alone["text"] > plain.alone["text"] + 0.03
    assert all(one.recall["text"]["10"] >= one.alone["text"] for one in results.values())
    larger = trials.tried(fitting, rows, queries, 3_000_000)
    # In a pool so much larger a sample's second look is at no more than ten,
    assert larger[0].recall["text"]["10"] == pytest.approx(larger[0].alone["text"])
    # or at twice as many, where codes are compared fast.
    assert larger[-1].recall["text"]["10"] > larger[-1].alone["text"] + 0.05


def test_the_table_is_kept_and_its_picture_mended(made: RandomVectors) -> None:
    made.set(index={"flat_limit": 50})
    made.embed(0, 1_200)
    report = made.recipe().manifest.report
    table = report.figures["candidates"]
    assert [row["key"] for row in table if row["chosen"]] == [report.figures["key"]]
    assert {"recall_at_1_text", "recall_at_100_image", "bytes_per_vector"} < table[0].keys()
    assert {"build_s", "queries_per_s"} < table[0].keys()
    assert report.pictures.keys() == {"Recall and time", "Recall and bytes"}
    contents = {path: made.store.read_bytes(path) for path in report.pictures.values()}
    before = made.pool.catalog.require(layout.INDEX_RECIPE, WHOLE)
    for path in contents:
        made.store.delete(path)
    asset = made.pool.assets[layout.INDEX_RECIPE]
    asset.make(made.pool.mending(before, [*contents]), WHOLE)
    assert {path: made.store.read_bytes(path) for path in contents} == contents


def test_what_finds_a_copy_has_found() -> None:
    rows = np.repeat(unit_rows(1, 100, 16), 4, axis=0)
    queries = {kind: unit_rows(seed, 40, 16) for seed, kind in enumerate(layout.SIDES, 5)}
    [whole] = trials.tried([Choice("IVF4,Flat", "", 72, 999)], rows, queries, len(rows))
    assert whole.recall["text"] == dict.fromkeys(("1", "10", "100"), 1.0)


def test_a_pool_of_few_vectors_is_not_measured(made: RandomVectors) -> None:
    made.embed(0, 60)
    assert made.recipe().manifest.report.figures["candidates"] == []


@pytest.mark.parametrize("memory", [2**20, 2**22])
def test_what_fits_is_ordered_and_fits(memory: int) -> None:
    settings = IndexSettings(max_memory_bytes=memory, flat_limit=1)
    fitting = kinds.fitting(5_000, 128, 8, settings)
    sizes = [choice.bytes_per_vector for choice in fitting]
    assert sizes == sorted(sizes, reverse=True)
    assert all(5_000 * size < memory for size in sizes)
