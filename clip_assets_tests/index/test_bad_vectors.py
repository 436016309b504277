"""Vectors and files that cannot be indexed or searched are refused by name; few vectors are not."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from clip_assets import layout
from clip_assets.errors import BusyError, CheckFailedError, SchemaError
from clip_assets.index import versions
from clip_assets.index.faiss_index import faiss_index
from clip_assets.index.index_segments import index_segments
from clip_assets.layout import WHOLE, Key
from clip_assets.retrieval.search import Searcher
from clip_assets.storage import vectors
from clip_assets_tests.index.conftest import OWN, RandomVectors

LISTS = {"flat_limit": 50}


def spoil(made: RandomVectors, key: Key, row: int, factor: float) -> None:
    """Stretch one image vector of a partition."""
    rows = made.vectors(key)
    rows[row] *= factor
    with made.store.publish(layout.img_emb(key)) as part:
        vectors.write(part, [rows], *rows.shape)
    made.record_files(layout.EMBEDDINGS, key)


@pytest.mark.parametrize(("factor", "told"), [(0, r"length 0\.000"), (3, r"length (2\.99|3\.00).")])
def test_vectors_of_another_length_are_refused(
    made: RandomVectors, factor: float, told: str
) -> None:
    key = made.embed(0, 60)
    made.recipe()
    spoil(made, key, 7, factor)
    with pytest.raises(CheckFailedError, match=rf"{told} in row 7"):
        index_segments(made.pool, key)


@pytest.mark.parametrize("settings", [{}, LISTS])
def test_partitions_of_no_and_of_one_row_are_searched(
    made: RandomVectors, settings: dict[str, Any]
) -> None:
    made.set(index=settings)
    for number, rows in enumerate((1, 0, 120, 1)):
        made.embed(number, rows)
    made.index()
    with Searcher.open(made.pool) as searcher:
        for number, expected in ((0, 0), (2, 1), (3, 121)):
            query = made.vectors(layout.partition_key(number))[0].astype("f4")
            assert searcher.search(query, k=1, recall_target=0.99)[0].id == expected
        assert len(searcher.search(query, k=500)) == 122


def test_of_a_uid_in_two_partitions_both_vectors_are_found_and_the_first_is_meant(
    made: RandomVectors,
) -> None:
    keys = [layout.partition_key(number) for number in range(2)]
    for number, key in enumerate(keys):
        made.put(number, made.drawn(key, 40, 16), made.rows(keys[0], 40), content="", model=OWN)
    made.index()
    with Searcher.open(made.pool) as searcher:
        query = made.vectors(keys[1])[3].astype("f4")
        hit = searcher.search(query, k=1)[0]
        assert (hit.id, searcher.ids([hit.uid]).tolist()) == (43, [3])


@pytest.mark.parametrize("cut", [1, 400, 20_000])
def test_an_index_that_is_cut_off_is_not_searched(made: RandomVectors, cut: int) -> None:
    made.set(index=LISTS)
    made.embed(0, 400)
    version = made.index()
    path = layout.index(version, "image")
    content = made.store.read_bytes(path)
    made.store.write_bytes(path, content[:-cut])
    with (
        Searcher.open(made.pool) as searcher,
        pytest.raises(SchemaError, match=r"image\.index.*cut off|no readable index"),
    ):
        searcher.search(made.vectors(layout.partition_key(0))[0].astype("f4"))


def test_of_two_refreshes_at_once_one_makes_the_version(made: RandomVectors) -> None:
    made.embed(0, 60)
    made.recipe()
    made.segment()
    together = Barrier(2)

    def refresh(_: int) -> str:
        pool = made.pool.renewed()
        together.wait()
        try:
            return faiss_index(pool, WHOLE).manifest.report.figures["version"]
        except BusyError:
            return "busy"

    with ThreadPoolExecutor(2) as threads:
        made_by = set(threads.map(refresh, range(2)))
    [version] = made_by - {"busy"}
    assert versions.merged(made.store) == [version]
