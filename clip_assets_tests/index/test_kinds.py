"""Which kind of index is chosen for how many vectors."""

import faiss
import numpy as np
import pytest
from autofaiss.external.optimize import get_optimal_nb_clusters
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import ConfigurationError
from clip_assets.index.engine import ann, kinds
from clip_assets.settings import IndexSettings
from clip_assets_tests.vectors import unit_rows

GIB = 2**30


@pytest.mark.parametrize(
    ("vectors", "memory", "expected"),
    [
        (0, 4 * GIB, "IDMap2,Flat"),
        (50_000, 4 * GIB, "IDMap2,Flat"),
        (50_001, 4 * GIB, "IVF64,Flat"),
        (1_500_000, 4 * GIB, "IVF64,SQ8"),
        (5_000_000, 4 * GIB, "RR512,IVF64,RaBitQ4"),
        (10_000_000, 4 * GIB, "RR512,IVF64,RaBitQ2"),
        (20_000_000, 4 * GIB, "RR512,IVF64,RaBitQ"),
        (28_000_000, 4 * GIB, "P256,RR256,IVF64,PQ128x4"),
        (50_000_000, 4 * GIB, "P128,RR128,IVF64,PQ32"),
        (100_000_000, 4 * GIB, "P32,RR32,IVF64,PQ8"),
        (50_000, 2**22, "P64,RR64,IVF64,PQ16"),
    ],
)
def test_the_most_exact_kind_that_fits_is_chosen(vectors: int, memory: int, expected: str) -> None:
    choice = kinds.fitting(vectors, 512, 64, IndexSettings(max_memory_bytes=memory))[0]
    assert choice.key == expected
    assert choice.fits_up_to >= vectors


def test_every_size_of_a_product_code_has_one_of_half_bytes() -> None:
    fits = kinds.fitting(60_000, 512, 64, IndexSettings(max_memory_bytes=4 * GIB))
    sizes = {each.bytes_per_vector: each.key for each in fits if each.key.endswith("x4")}
    assert sizes == {
        72: "P256,RR256,IVF64,PQ128x4",
        40: "P128,RR128,IVF64,PQ64x4",
        24: "P64,RR64,IVF64,PQ32x4",
        16: "P32,RR32,IVF64,PQ16x4",
    }


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_memory_bytes"):
        kinds.fitting(10_000_000, 512, 64, IndexSettings(max_memory_bytes=2**20))


@given(
    vectors=st.integers(0, 10**9),
    dim=st.sampled_from([32, 512, 768, 1024]),
    memory=st.integers(2**20, 2**36),
    flat_limit=st.integers(1, 10**6),
)
def test_what_is_chosen_fits_and_has_room_to_grow(
    vectors: int, dim: int, memory: int, flat_limit: int
) -> None:
    settings = IndexSettings(max_memory_bytes=memory, flat_limit=flat_limit)
    lists = kinds.lists_for(vectors, settings.train_limit)
    try:
        choice = kinds.fitting(vectors, dim, lists, settings)[0]
    except ConfigurationError:
        assert 2 * vectors * (8 + 8) + 4 * dim * (lists + dim + kinds.CODES) > memory
        return
    assert vectors <= choice.fits_up_to
    assert choice.fits_up_to * choice.bytes_per_vector <= memory
    if choice.key != kinds.FLAT:
        assert choice.fits_up_to >= 2 * vectors


@pytest.mark.parametrize("dim", [32, 512])
def test_bytes_of_a_vector_are_those_of_faiss(dim: int) -> None:
    keys: set[str] = set()
    for memory in 2 ** np.arange(24, 20, -0.1):
        settings = IndexSettings(max_memory_bytes=int(memory), flat_limit=1)
        try:
            choice = kinds.fitting(20_000, dim, 4, settings)[0]
        except ConfigurationError:
            break
        if choice.key in keys:
            continue
        built = ann.trained(choice.key, dim, unit_rows(1, 300, dim))
        inverted = faiss.extract_index_ivf(built)
        assert inverted.code_size + kinds.ID_BYTES == choice.bytes_per_vector
        keys.add(choice.key)
    assert len(keys) >= 4


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_every_list_can_be_trained(vectors: int, limit: int) -> None:
    lists = kinds.lists_for(vectors, limit)
    assert 1 <= lists <= kinds.suited_lists(vectors)
    assert lists == 1 or lists * kinds.TRAINING_POINTS <= min(vectors, limit)


# Where the rule of autofaiss changes, and a vector before.
STEPS = [step - before for step in (2, 10**6, 10**7, 3 * 10**8) for before in (1, 0)]


@given(st.integers(1, 10**9) | st.integers(1, 10**5) | st.sampled_from(STEPS))
def test_lists_are_those_of_autofaiss(vectors: int) -> None:
    assert kinds.suited_lists(vectors) == get_optimal_nb_clusters(vectors)[0]


def test_an_empty_pool_has_lists_too() -> None:
    assert kinds.suited_lists(0) == kinds.suited_lists(1)
