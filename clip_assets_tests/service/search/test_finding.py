"""Mixes, conditions, thresholds, folds, facets and columns of a search."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets_tests.retrieval.conftest import Captions, WordEncoder
from clip_assets_tests.service.conftest import (
    ANIMALS,
    Served,
    captions,
    describe,
    error,
    pool_of_animals,
    search,
    serving,
    uid_of,
)
from clip_assets_tests.vectors import unit, unit_rows


def test_each_term_says_what_it_gave(animals: Served) -> None:
    answer = search(animals, {"text": "cat"}, {"uid": uid_of("dog"), "weight": -0.5})
    words = WordEncoder()
    cat = words.encode_text(["cat"])[0].astype(np.float32)
    dog = words.encode_images([words.preprocess(b"dog")])[0].astype(np.float32)
    mix = unit(unit(cat) - 0.5 * unit(dog))
    for found in answer["results"]:
        own = words.encode_images([words.preprocess(found["caption"].encode())])[0]
        assert found["similarity"] == pytest.approx(float(own.astype(np.float32) @ mix), abs=2e-3)
        assert sum(found["contributions"]) == pytest.approx(found["similarity"], abs=2e-3)
    assert captions(answer)[0] == "cat"
    assert captions(answer)[-1] == "dog"
    both = [{"text": "cat"}, {"text": "cat", "weight": -1}]
    refused = error(animals.http.post("/v1/search", json={"terms": both}), 400)
    assert "cancel" in refused["found"]


def test_a_condition_leaves_exactly_what_it_holds_for(animals: Served) -> None:
    where = "language = 'en' AND original_width >= 200"
    answer = search(animals, {"text": "cat"}, where=where, k=10)
    assert sorted(captions(answer)) == ["cow", "dog", "fox"]
    assert answer["more"] is False
    assert captions(search(animals, {"text": "cat"}, where="url LIKE '%cow.example%'")) == ["cow"]
    assert captions(search(animals, {"text": "cat"}, where="false")) == []


@pytest.mark.parametrize(
    "where",
    ["lenguage = 'en'", "1; DROP TABLE x", "(SELECT 1)", "read_text('/etc/passwd') = ''", "text"],
)
def test_a_condition_that_cannot_be_is_refused(animals: Served, where: str) -> None:
    body = {"terms": [{"text": "cat"}], "where": where}
    error(animals.http.post("/v1/search", json=body), 400)


def test_columns_of_the_metadata_come_with_results(animals: Served) -> None:
    columns = ["language", "similarity", "nsfw"]
    [found] = search(animals, {"text": "hen"}, k=1, columns=columns)["results"]
    assert (found["language"], found["nsfw"], found["source_similarity"]) == ("de", None, 0.75)
    assert found["similarity"] != 0.75
    body = {"terms": [{"text": "cat"}], "columns": ["langauge"]}
    assert "language" in error(animals.http.post("/v1/search", json=body), 400)["advice"]
    item = animals.http.get(f"/v1/items/{uid_of('dog')}").json()
    assert (item["text"], item["original_width"], item["shard"]) == ("dog", None, "00000/00000")


def test_facets_count_what_results_are_like(animals: Served) -> None:
    facets = search(animals, {"text": "cat"}, facets=True)["facets"]
    assert facets["over"] == len(ANIMALS) == sum(facets["similarity"]["counts"])
    assert facets["language"] == [["en", 3], ["de", 2]]
    assert facets["partition"] == [["00000", 3], ["00001", 2]]
    assert facets["host"] == [["h", 5]]
    assert facets["date"]["edges"][0] == 1388620800  # 2014-01-02
    assert sum(facets["date"]["counts"]) == 3
    later = search(animals, {"text": "cat"}, where="taken_at >= '2014-01-03T00:00:00'")
    assert [one["caption"] for one in later["results"]] == ["cow"]
    assert facets["width"] == {"edges": [], "counts": []}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """300 things, and 40 copies of each of two of them."""
    made = NearCopies(pool_of_animals(tmp_path_factory.mktemp("copies")).store)
    made.copied(2)
    made.index()
    with serving(Hosting([HostedIndex("copies", made.pool)])) as served:
        yield served


class NearCopies(Captions):
    """A pool of captions some of whose vectors are nearly the same."""

    def copied(self, number: int) -> None:
        things = unit_rows(1, 300, 24)
        copies = np.repeat(things[:2], 40, axis=0)
        noise = 0.05 * unit_rows(2, len(copies), 24)
        vectors = unit(np.concatenate([things, copies + noise]))
        names = [f"thing {n}" for n in range(300)] + [f"copy {n}" for n in range(80)]
        rows = [{"uid": uid_of(name), "caption": name} for name in names]
        key = self.put(
            number, (vectors, vectors), rows, content="copies", model=self.words.identity
        )
        describe(self, key, names)


def test_what_is_nearly_the_same_is_folded_and_made_up_for(copies: Served) -> None:
    vector = {"embedding": unit_rows(1, 300, 24)[0].tolist()}
    plain = captions(search(copies, vector, k=20))
    assert plain[0] == "thing 0"
    assert all(name.startswith("copy") for name in plain[1:])
    folded = search(copies, vector, k=20, fold=0.94)
    assert len(folded["results"]) == 20
    assert folded["more"] is True
    first = folded["results"][0]
    assert len(first["folded"]) == 40
    assert {member["uid"] for member in first["folded"]} == {uid_of(f"copy {n}") for n in range(40)}
    # The next page goes on where this one ended.
    both = [*captions(folded), *captions(search(copies, vector, k=20, offset=20, fold=0.94))]
    assert both == captions(search(copies, vector, k=40, fold=0.94))
    assert len(set(both)) == 40


def test_relevance_ends_at_the_elbow(copies: Served) -> None:
    vector = {"embedding": unit_rows(1, 300, 24)[0].tolist()}
    end = search(copies, vector)["relevance_ends"]
    assert 41 <= end <= 60
    answer = search(copies, vector, k=100, threshold_kind="elbow")
    assert len(answer["results"]) == end
    # Of a folded list it is a place in that.
    assert search(copies, vector, fold=0.94)["relevance_ends"] == end - 40
    relative = search(copies, vector, k=100, threshold=0.9, threshold_kind="relative")
    assert len(relative["results"]) == 41
    absolute = search(copies, vector, k=100, threshold=0.9995)
    assert captions(absolute) == ["thing 0"]


def test_columns_that_are_not_named_are_neither_told_nor_asked_about(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    offer = Offer(columns=("text", "language"))
    with serving(Hosting([HostedIndex("animals", made.pool)]), offer) as served:
        answer = search(served, {"text": "cat"}, k=1, facets=True)
        [found] = answer["results"]
        assert found["caption"] == "cat"
        assert not {"url", "sha256", "pair_similarity", "image_path"} & found.keys()
        assert "host" not in answer["facets"]
        [index] = served.http.get("/v1/indices").json()["indices"]
        assert {column["name"] for column in index["columns"]} == {"uid", "text", "language"}
        for further in ({"columns": ["url"]}, {"where": "url LIKE 'http://c%'"}):
            body = {"terms": [{"text": "cat"}]} | further
            error(served.http.post("/v1/search", json=body), 400)
        refused = error(served.http.get(f"/v1/images/{uid_of('cat')}"), 403)
        assert "--column shard" in refused["advice"]
        assert "url" not in served.http.get(f"/v1/items/{uid_of('cat')}").json()
        urls = {"uids": [uid_of("cat")], "format": "urls"}
        assert served.http.post("/v1/subsets", json=urls).status_code == 403


def test_searches_of_one_moment_are_answered_as_each_alone(animals: Served) -> None:
    vector = WordEncoder().encode_text(["hen"])[0].astype(float).tolist()
    right = [
        {"terms": [term], "k": k, "side": side, "offset": offset}
        for term in ({"text": "cat"}, {"text": "dog", "weight": -1}, {"embedding": vector})
        for k, side, offset in ((1, "image", 0), (3, "image", 1), (5, "text", 0))
    ]
    wrong = [{"terms": [{"embedding": [1.0]}]}, {"terms": [{"text": "cat"}], "recall_target": 2}]
    asked = [*right, *wrong] * 3

    def ask(body: dict[str, Any]) -> tuple[Any, ...]:
        answer = animals.http.post("/v1/search", json=body).json()
        found = [(one["id"], round(one["similarity"], 4)) for one in answer.get("results", ())]
        return found, answer.get("more"), answer.get("error", {}).get("found")

    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(ask, asked))
    # With a condition a search has a thread and a look into the index of its own.
    alone = [ask(body | {"where": "true"}) for body in right] + [ask(body) for body in wrong]
    assert together == alone * 3
    assert together[0][0]
    assert together[-1][2]
