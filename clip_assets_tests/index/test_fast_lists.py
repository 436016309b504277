"""The fast form of codes finds what the codes find, among all vectors and among some."""

from contextlib import ExitStack
from pathlib import Path

import faiss
import numpy as np
import pytest

from clip_assets.index import versions
from clip_assets.index.effort.reach import EVERYTHING, Reach
from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.engine.fast_lists import fast_form, has_fast_form, make
from clip_assets.retrieval.served_side import ServedSide
from clip_assets_tests.index.conftest import RandomVectors
from clip_assets_tests.vectors import unit_rows

DIM, TOTAL, K = 64, 3_000, 40


def _shared(some: Ids, others: Ids) -> float:
    return float(
        np.mean([np.isin(own, other).mean() for own, other in zip(some, others, strict=True)])
    )


@pytest.fixture(scope="module")
def rows() -> Floats:
    return unit_rows(1, TOTAL, DIM)


@pytest.mark.parametrize("key", ["P32,RR32,IVF8,PQ16x4", "IVF8,PQ16x4"])
def test_it_finds_the_same(tmp_path: Path, rows: Floats, key: str) -> None:
    index = ann.trained(key, DIM, rows)
    ann.add(index, rows)
    ann.write(index, tmp_path / "plain.index")
    plain = ann.read(tmp_path / "plain.index", "plain.index", mapped=True)
    fast = fast_form(plain)
    assert fast is not None
    assert has_fast_form(plain)
    assert has_fast_form(fast)
    queries, gap = unit_rows(2, 30, DIM), 0.2
    similar, ids = ann.search(plain, queries, K, gap)
    allowed = np.arange(0, TOTAL, 3)
    _, some = ann.search(plain, queries, K, gap, ann.selection(allowed, TOTAL))
    del plain, index
    fast_similar, fast_ids = ann.search(fast, queries, K, gap)
    assert _shared(fast_ids, ids) > 0.9
    assert np.allclose(fast_similar, similar, atol=0.02)
    _, fast_some = ann.search(fast, queries, K, gap, ann.selection(allowed, TOTAL))
    assert _shared(fast_some, some) > 0.9
    assert not (fast_some[fast_some >= 0] % 3).any()


@pytest.mark.parametrize("key", ["IDMap2,Flat", "IVF8,Flat", "RR64,IVF8,RaBitQ", "IVF8,PQ8"])
def test_other_kinds_have_none(rows: Floats, key: str) -> None:
    index = ann.trained(key, DIM, rows)
    assert not has_fast_form(index)
    assert fast_form(index) is None


def test_it_is_made_where_memory_has_room_for_it(rows: Floats) -> None:
    index = ann.trained("IVF8,PQ16x4", DIM, rows)
    ann.add(index, rows)
    bytes_of_it = TOTAL * (8 + 8)
    for free_bytes, expected in ((3 * bytes_of_it, 0), (5 * bytes_of_it, 1)):
        taken: list[ann.Index] = []
        with ExitStack() as stack:
            make(index, taken.append, stack, free_bytes)
        assert len(taken) == expected


@pytest.mark.usefixtures("hasty")
def test_a_served_index_takes_it(made: RandomVectors) -> None:
    # Room for 72 bytes a vector, not for the 80 of one bit a dimension.
    made.set(index={"flat_limit": 1, "max_memory_bytes": 1_725_000})
    made.embed(0, 800, dim=512)
    made.index()
    version = versions.read(made.store, versions.merged(made.store)[-1])
    assert version.key.endswith("x4")
    queries, far = unit_rows(3, 20, 512), Reach(0.9, EVERYTHING, 0.9, 0, 1)
    with ExitStack() as stack:
        side = ServedSide(made.pool, version, "image", stack)
        before = side.nearest(queries, 10, far)
        stack.pop_all().close()  # waits for it
        assert isinstance(ann.inverted(side.index), faiss.IndexIVFPQFastScan)
        after = side.nearest(queries, 10, far)
        assert _shared(after.ids, before.ids) > 0.9
        assert _shared(after.ids, side.exactly(queries, 10).ids) > 0.9
