"""What the typed endpoints find, tell and refuse."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.service.conftest import (
    ANIMALS,
    Served,
    captions,
    error,
    pool_of_animals,
    search,
    serving,
    uid_of,
)


@pytest.mark.parametrize("caption", ANIMALS)
def test_a_text_finds_its_image_first(animals: Served, caption: str) -> None:
    answer = search(animals, {"text": caption}, k=3)
    assert captions(answer)[0] == caption
    assert (answer["index"], answer["offset"], answer["more"]) == ("animals", 0, True)
    first = answer["results"][0]
    assert first["contributions"] == [first["similarity"]]
    assert first["pair_similarity"] == 0.25


@pytest.mark.parametrize(
    "text",
    ["\u200f\u05d7\u05ea\u05d5\u05dc", "\U0001f98a" * 400, "a\x00b", "\ud7ff", "e\u0301" * 999],
)
def test_any_text_is_searched_for(animals: Served, text: str) -> None:
    assert len(search(animals, {"text": text})["results"]) == len(ANIMALS)


def test_an_image_may_be_a_data_uri(animals: Served) -> None:
    [fox] = search(animals, {"image": "data:image/jpeg;base64,Zm94"}, k=1)["results"]
    assert fox["caption"] == "fox"


def test_images_embeddings_and_pairs_mean_the_same(animals: Served) -> None:
    words = WordEncoder()
    vector = words.encode_images([words.preprocess(b"fox")])[0].tolist()
    expected = search(animals, {"image": base64.b64encode(b"fox").decode()})
    assert captions(expected)[0] == "fox"
    uid = expected["results"][0]["uid"]
    for term in (
        {"image": "data:image/png;base64," + base64.b64encode(b"fox").decode()},
        {"embedding": vector},
        {"uid": uid},
    ):
        assert captions(search(animals, term)) == captions(expected)


def test_an_image_is_uploaded_beside_the_request(animals: Served) -> None:
    request = json.dumps({"terms": [{"upload": "image0"}], "k": 1})
    files = {"image0": ("a.jpg", b"cow")}
    answer = animals.http.post("/v1/search", data={"request": request}, files=files)
    assert captions(answer.json()) == ["cow"]
    missing = json.dumps({"terms": [{"upload": "image1"}]})
    told = error(animals.http.post("/v1/search", data={"request": missing}, files=files), 422)
    assert "image0" in told["expected"]
    assert "request" in error(animals.http.post("/v1/search", files=files), 422)["found"]


def test_an_offset_goes_on_where_results_ended(animals: Served) -> None:
    whole = captions(search(animals, {"text": "cat"}))
    assert len(whole) == len(ANIMALS)
    second = search(animals, {"text": "cat"}, k=2, offset=2)
    assert (captions(second), second["more"]) == (whole[2:4], True)
    last = search(animals, {"text": "cat"}, k=2, offset=4)
    assert (captions(last), last["more"]) == (whole[4:], False)
    assert captions(search(animals, {"text": "cat"}, offset=5_000)) == []


def test_an_item_is_found_by_its_uid(animals: Served) -> None:
    found = search(animals, {"text": "hen"}, k=1)["results"][0]
    item = animals.http.get(f"/v1/items/{found['uid']}").json()
    assert (item["caption"], item["id"], item["partition"]) == ("hen", found["id"], "00001")
    assert item["has_metadata"] is True
    for uid in ("f" * 32, "x", "..%2f..%2fpool.yaml"):
        assert animals.http.get(f"/v1/items/{uid}").status_code == 404


def test_an_item_whose_metadata_are_gone_says_so(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    key = Key("00000")
    for gone in (layout.manifest(layout.POOL_METADATA, key), layout.pool_rows(key)):
        made.store.delete(gone)
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        item = served.http.get(f"/v1/items/{uid_of('cat')}").json()
        assert (item["caption"], item["language"], item["has_metadata"]) == ("cat", None, False)


def test_indices_say_what_they_are(animals: Served) -> None:
    [index] = animals.http.get("/v1/indices").json()["indices"]
    assert (index["name"], index["dim"], index["vectors"]) == ("animals", 24, 5)
    assert index["partitions"] == ["00000", "00001"]
    assert {"name": "nsfw", "type": "string", "words": "the source's tag, such as UNLIKELY"} in (
        index["columns"]
    )
    assert index["recall"]["image"]["text"][0]["target"] == 0.9


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "terms"),
        ({"terms": []}, "terms"),
        ({"terms": [{}]}, "terms.0"),
        ({"terms": [{"text": "a", "uid": "b"}]}, "terms.0"),
        ({"terms": [{"text": ""}]}, "terms.0.text"),
        ({"terms": [{"text": 5}]}, "terms.0.text"),
        ({"terms": [{"text": "a" * 2**20}]}, "terms.0.text"),
        ({"terms": [{"text": "a", "weight": 1e9}]}, "terms.0.weight"),
        ({"terms": [{"text": "a"}], "k": 0}, "k"),
        ({"terms": [{"text": "a"}], "k": -1}, "k"),
        ({"terms": [{"text": "a"}], "k": 10**9}, "k"),
        ({"terms": [{"text": "a"}], "offset": -1}, "offset"),
        ({"terms": [{"text": "a"}], "side": "audio"}, "side"),
        ({"terms": [{"text": "a"}], "nonsense": 1}, "nonsense"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    animals: Served, body: dict[str, Any], where: str
) -> None:
    assert error(animals.http.post("/v1/search", json=body), 422)["where"] == where


@pytest.mark.parametrize("body", [b"", b"hello", b"[1]", b'{"terms": [', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(animals: Served, body: bytes) -> None:
    error(animals.http.post("/v1/search", content=body), 422)


@pytest.mark.parametrize(
    ("term", "told"),
    [
        ({"text": " "}, "empty text"),
        ({"image": "!!!"}, "base64"),
        ({"image": "data:image/jpeg,fox"}, "base64"),
        ({"embedding": [1.0] * 23}, "shape"),
        ({"embedding": [0.0] * 24}, "zeros"),
        ({"uid": "f" * 32}, "uid"),
    ],
)
def test_a_term_that_cannot_be_is_refused(animals: Served, term: dict[str, Any], told: str) -> None:
    assert told in error(animals.http.post("/v1/search", json={"terms": [term]}), 400)["found"]


@pytest.mark.parametrize(
    ("path", "body", "where", "told"),
    [
        ("search", {"terms": [{"text": "a"}], "tersm": 1}, "tersm", ("index, terms, ", "terms.")),
        ("search", {"terms": [{"text": "a", "wieght": 1}]}, "terms.0.wieght", ("uid", "weight.")),
        ("search", {"terms": [{"text": "a"}], "K": 1}, "K", ("k, threshold", "Perhaps k.")),
        (
            "search/batch",
            {"queries": [{"terms": [{"text": "a"}], "text": "a"}]},
            "queries.0.text",
            ("terms", "Correct"),
        ),
    ],
)
def test_a_field_that_there_is_none_of_is_told_with_those_that_are(
    animals: Served, path: str, body: dict[str, Any], where: str, told: tuple[str, str]
) -> None:
    refused = error(animals.http.post(f"/v1/{path}", json=body), 422)
    assert refused["where"] == where
    assert told[0] in refused["expected"]
    assert told[1] in refused["advice"]


def test_a_method_that_there_is_none_of_is_told_with_the_one_that_is(animals: Served) -> None:
    assert error(animals.http.get("/v1/search"), 405)["expected"] == "the method POST"
    assert error(animals.http.get("/v1/nope"), 404)["expected"] == "an endpoint that is"


def test_numbers_that_are_not_finite_are_refused(animals: Served) -> None:
    body = b'{"terms": [{"embedding": [NaN, 1e999]}]}'
    error(animals.http.post("/v1/search", content=body), 422)


def test_an_index_that_is_not_hosted_is_refused(animals: Served) -> None:
    body = {"terms": [{"text": "a"}], "index": "plants"}
    assert "animals" in error(animals.http.post("/v1/search", json=body), 404)["expected"]


def test_a_batch_finds_what_its_queries_find_alone(animals: Served) -> None:
    queries = [
        [{"text": "cat"}],
        [{"text": "hen"}, {"text": "fox", "weight": -0.5}],
        [{"image": base64.b64encode(b"dog").decode()}],
    ]
    common = {"k": 2, "where": "original_width < 300", "columns": ["language"]}
    body = {"queries": [{"terms": terms} for terms in queries]} | common
    answer = animals.http.post("/v1/search/batch", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["index"], told["took_ms"].keys()) == (
        "animals", {"encode", "where", "search", "rows"},
    )  # fmt: skip
    assert [captions(one)[0] for one in told["queries"]] == ["cat", "hen", "dog"]
    for terms, one in zip(queries, told["queries"], strict=True):
        assert one["results"] == search(animals, *terms, **common)["results"]


@pytest.mark.parametrize(
    ("further", "found"),
    [
        ({"queries": []}, "0"),
        ({"queries": [{"terms": [{"text": "a"}]}] * 257}, "257"),
        ({"queries": [{"terms": [{"text": "a"}] * 16}] * 17}, "272 terms"),
        ({"queries": [{"terms": [{"text": "a"}]}] * 11, "k": 1_000}, "11,000"),
        ({"queries": [{"terms": [{"upload": "image0"}]}]}, "image0"),
        ({"queries": [{"terms": [{"text": "a"}]}], "offset": 1}, "offset"),
    ],
)
def test_a_batch_is_bounded(animals: Served, further: dict[str, Any], found: str) -> None:
    answer = animals.http.post("/v1/search/batch", json=further)
    assert found in str(error(answer, 422)), answer.text
