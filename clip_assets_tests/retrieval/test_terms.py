"""Several queries are searched as one, and every result says what each gave."""

import numpy as np
import pytest

from clip_assets.errors import ConfigurationError
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.terms import Term
from clip_assets_tests.retrieval.conftest import Captions

ANIMALS = ["cat", "dog", "cow", "hen", "fox"]


@pytest.fixture
def animals(made: Captions):
    made.add(0, ANIMALS)
    made.index()
    with Searcher.open(made.pool) as searcher:
        yield searcher


def test_a_mix_finds_what_its_terms_mean_and_tells_what_each_gave(animals: Searcher) -> None:
    terms = [Term("cat"), Term(b"dog", 0.5), Term("hen", -0.25)]
    mixed = animals.mix(terms)
    expected = sum(term.weight * animals.vector(term.query) for term in terms)
    assert np.linalg.norm(mixed.vector) == pytest.approx(1)
    assert mixed.vector @ expected == pytest.approx(np.linalg.norm(expected), rel=1e-5)
    found = animals.search_many(mixed.vector[None], 5, kind=mixed.kind)
    captions = animals.rows(found.ids[0])["caption"].to_pylist()
    assert captions[:2] == ["cat", "dog"]
    gave = mixed.contributions(animals.vectors(found.ids[0]))
    assert gave.shape == (5, 3)
    assert gave.sum(axis=1) == pytest.approx(found.similarities[0], abs=1e-5)
    away = gave[captions.index("hen")]
    assert away[2] < 0
    assert np.abs(away[:2]).max() < np.abs(away[2])


def test_one_term_is_its_query(animals: Searcher) -> None:
    mixed = animals.mix([Term("cat", 7)])
    assert mixed.vector == pytest.approx(animals.vector("cat"))
    assert mixed.kind == "text"


@pytest.mark.parametrize("times", [1e300, 1e38, 1e-30, 5e-324])
def test_only_how_weights_stand_to_each_other_counts(animals: Searcher, times: float) -> None:
    plain = animals.mix([Term("cat"), Term("dog", -1)])
    mixed = animals.mix([Term("cat", times), Term("dog", -times)])
    assert mixed.vector == pytest.approx(plain.vector)
    assert mixed.contributions(plain.units) == pytest.approx(plain.contributions(plain.units))


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ([Term("cat"), Term("dog", 0.1)], "text"),
        ([Term(b"cat")], "image"),
        ([Term("cat"), Term(b"dog")], None),
        ([Term("cat"), Term("dog", -1)], None),
        ([Term(np.ones(24))], None),
    ],
)
def test_a_mix_says_where_it_lies(animals: Searcher, terms: list[Term], kind: str | None) -> None:
    assert animals.mix(terms).kind == kind


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ([], "one or more"),
        ([Term("cat", 0)], "weight of 0"),
        ([Term("cat", float("nan"))], "weight of nan"),
        ([Term("cat", 2), Term("cat", -2)], "cancel each other out"),
        ([Term("cat"), Term(" ")], "empty text"),
    ],
)
def test_terms_without_a_direction_are_refused(
    animals: Searcher, terms: list[Term], refusal: str
) -> None:
    with pytest.raises(ConfigurationError, match=refusal):
        animals.mix(terms)
