"""Texts, images, embeddings and pairs find their neighbours, ranked, and nothing else."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    ConfigurationError,
    MissingArtifactError,
    ModelLoadError,
    ModelMismatchError,
)
from clip_assets.index import versions
from clip_assets.retrieval.queries import Uid
from clip_assets.retrieval.search import Hit, Searcher
from clip_assets_tests.retrieval.conftest import Captions, WordEncoder

ANIMALS = ["cat", "dog", "cow", "hen", "fox"]


@pytest.fixture
def animals(made: Captions) -> Iterator[Searcher]:
    made.add(0, ANIMALS[:3])
    made.add(1, ANIMALS[3:])
    made.index()
    with Searcher.open(made.pool) as searcher:
        yield searcher


def captions(hits: Sequence[Hit]) -> list[str]:
    return [hit.caption for hit in hits]


@pytest.mark.parametrize("caption", ANIMALS)
def test_a_text_finds_its_image_first(animals: Searcher, caption: str) -> None:
    hits = animals.search(caption, k=3)
    assert hits[0].caption == caption
    assert [hit.similarity for hit in hits] == sorted(
        (hit.similarity for hit in hits), reverse=True
    )


def test_a_hit_says_what_it_is(animals: Searcher) -> None:
    hit = animals.search(b"hen", k=1)[0]
    assert (hit.id, hit.partition, hit.key) == (3, "00001", "00000000")
    assert (hit.url, hit.image_path) == ("http://h/00001/0", "00001/00000/00000000")
    assert hit.similarity == pytest.approx(1, abs=1e-3)
    assert (hit.width, hit.height, hit.pair_similarity) == (256, None, 0.25)
    assert len(hit.uid) == 32


def test_image_files_contents_and_embeddings_mean_the_same(
    animals: Searcher, made: Captions, tmp_path: Path
) -> None:
    file = tmp_path / "fox.jpg"
    file.write_bytes(b"fox")
    embedding = made.words.encode_images([made.words.preprocess(b"fox")])
    expected = animals.search(b"fox")
    assert animals.search(file) == expected
    assert animals.search(embedding) == expected
    assert captions(animals.search(embedding[0].astype(np.float64) * 50)) == captions(expected)


@pytest.mark.parametrize("flat_limit", [50_000, 1])
def test_a_pair_is_found_by_its_uid(made: Captions, flat_limit: int) -> None:
    made.add(0, ANIMALS)
    made.add(1, [f"thing {n}" for n in range(90)])
    made.set(index={"flat_limit": flat_limit})
    made.index()
    with Searcher.open(made.pool) as searcher:
        cow = next(hit for hit in searcher.search(np.ones(24), k=95) if hit.caption == "cow")
        assert captions(searcher.search(Uid(cow.uid), k=1)) == ["cow"]
        with pytest.raises(ConfigurationError, match="a pair of index version"):
            searcher.search(Uid("f" * 32))


def test_the_text_side_is_searched_when_asked_for(animals: Searcher) -> None:
    exact = animals.search("dog", k=1, side="text")[0]
    across = animals.search("dog", k=1, side="image")[0]
    assert (exact.caption, across.caption) == ("dog", "dog")
    assert exact.similarity == pytest.approx(1, abs=1e-3)
    assert across.similarity < 0.99


def test_fewer_pairs_than_asked_for_are_a_short_list(animals: Searcher) -> None:
    hits = animals.search("cat", k=1000)
    assert sorted(captions(hits)) == sorted(ANIMALS)


def test_the_threshold_is_inclusive(animals: Searcher) -> None:
    third = animals.search("cat", k=3)[2].similarity
    assert len(animals.search("cat", threshold=third)) == 3
    assert len(animals.search("cat", threshold=third + 1e-4)) == 2
    assert animals.search("cat", threshold=1.1) == []


@pytest.mark.parametrize("flat_limit", [50_000, 1])
def test_every_vector_can_be_reached_through_lists_that_are_probed_in_part(
    made, flat_limit
) -> None:
    made.add(0, [f"thing {n}" for n in range(400)])
    made.set(index={"flat_limit": flat_limit})
    made.index()
    with Searcher.open(made.pool) as searcher:
        assert len(searcher.search("thing 1", k=400)) == 400


@pytest.mark.parametrize("flat_limit", [1, 1_000])
def test_of_copies_the_lower_id_is_first_however_many_are_asked_for(
    made: Captions, flat_limit: int
) -> None:
    made.set(index={"flat_limit": flat_limit})
    made.add(0, [*(f"thing {n}" for n in range(250)), *["copy"] * 30])
    made.index()
    with Searcher.open(made.pool) as searcher:
        vector = searcher.vector("copy")[None]
        for k in (3, 5, 10, 30):
            assert searcher.search_many(vector, k).ids[0].tolist() == [*range(250, 250 + k)]


@pytest.mark.parametrize("flat_limit", [50_000, 1])
def test_gone_pairs_are_never_found_and_others_fill_the_list(
    made: Captions, flat_limit: int
) -> None:
    made.add(0, [f"thing {n}" for n in range(100)])
    made.add(1, ["lion", "bear"])
    made.set(index={"flat_limit": flat_limit})
    made.index()
    made.add(1, ["bear"])
    made.index()
    with Searcher.open(made.pool) as searcher:
        hits = searcher.search("lion", k=101)
        assert "lion" not in captions(hits)
        assert len(hits) == 101
        assert searcher.search("bear", k=1)[0].id == 102
        assert searcher.version.unused_ids == 2


def test_an_open_searcher_keeps_its_version_when_a_new_one_is_served(made: Captions) -> None:
    made.add(0, ANIMALS)
    made.index()
    with Searcher.open(made.pool) as old:
        made.add(1, ["lion"])
        made.index()
        assert "lion" not in captions(old.search("lion"))
        with Searcher.open(made.pool) as new:
            assert captions(new.search("lion", k=1)) == ["lion"]
        versions.use(made.store, old.version.name)
        with Searcher.open(made.pool) as back:
            assert back.search("lion") == old.search("lion")


def test_a_store_on_an_object_store_is_searched_alike(made_anywhere: Captions) -> None:
    made_anywhere.add(0, ANIMALS)
    made_anywhere.index()
    with Searcher.open(made_anywhere.pool) as searcher:
        assert captions(searcher.search("hen", k=1)) == ["hen"]


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        (np.full(24, np.nan), "not finite"),
        (np.full(24, np.inf), "not finite"),
        (np.zeros(24), "only zeros"),
        (np.full(24, 1j), "numbers of type complex128"),
        (np.full(24, "a"), "numbers of type <U1"),
        (np.zeros(24, "u8,u8"), "numbers of type"),
        (np.ones(23), r"shape \(23,\)"),
        (np.ones((2, 24)), r"shape \(2, 24\)"),
        ("", "empty text"),
        (" \n", "empty text"),
        (Path("/no/such.jpg"), "No such file"),
    ],
)
def test_a_query_without_direction_is_refused(animals: Searcher, query: Any, refusal: str) -> None:
    with pytest.raises(ConfigurationError, match=refusal):
        animals.search(query)


@pytest.mark.parametrize(("option", "refusal"), [({"k": 0}, "k"), ({"side": "sound"}, "side")])
def test_wrong_options_are_refused(animals: Searcher, option: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ConfigurationError, match=refusal):
        animals.search("cat", **option)


def no_model() -> Encoder:
    """Loads a model that is not there."""
    raise ModelLoadError("model", "no file", "weights", "Pull it.")


def test_without_a_model_only_vectors_and_pairs_can_be_searched(made: Captions) -> None:
    made.add(0, ANIMALS)
    made.index()
    with Searcher.open(made.served_by(no_model).pool) as searcher:
        hits = searcher.search(np.ones(24))
        assert len(hits) == 5
        assert captions(searcher.search(Uid(hits[0].uid), k=1)) == captions(hits[:1])
        for query in ("cat", b"cat"):
            with pytest.raises(ModelLoadError, match="Pull it"):
                searcher.search(query)


@pytest.mark.parametrize("query", ["", " \n", Path("/no/such.jpg")])
def test_what_cannot_be_a_query_is_refused_before_a_model_is_loaded(
    made: Captions, query: str | Path
) -> None:
    made.add(0, ANIMALS)
    made.index()
    searcher = Searcher.open(made.served_by(no_model).pool)
    with searcher, pytest.raises(ConfigurationError, match="query"):
        searcher.search(query)


def test_another_model_is_refused_with_both_named(made: Captions) -> None:
    made.add(0, ANIMALS)
    made.index()
    with Searcher.open(made.served_by(lambda: WordEncoder("letters")).pool) as searcher:
        for query in ("cat", b"cat"):
            with pytest.raises(ModelMismatchError, match=r"vectors of words .*vectors of letters"):
                searcher.search(query)
        assert len(searcher.search(np.ones(24))) == 5


def test_a_pool_without_an_index_says_so(made: Captions) -> None:
    with pytest.raises(MissingArtifactError, match=r"a served version.*clip-assets run"):
        Searcher.open(made.served_by(no_model).pool)


def test_an_empty_index_finds_nothing(made: Captions) -> None:
    made.add(0, [])
    made.index()
    with Searcher.open(made.pool) as searcher:
        assert searcher.search("cat") == []
