"""clip-retrieval's requests are answered as its back does, and its failures with a reason.

Each case is a request that its back, release 2.45, was seen to be asked; where it answered 500
stands 400 here.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.service.conftest import ANIMALS, Served, pool_of_animals, serving
from clip_assets_tests.websites import Site

BASE = {"modality": "image", "num_images": 3, "num_result_ids": 3, "indice_name": "animals"}
WORDS = WordEncoder()
FOX: list[float] = WORDS.encode_images([WORDS.preprocess(b"fox")])[0].tolist()
IMAGE = base64.b64encode(b"fox").decode()

FRONT = {
    "text": "fox", "image": None, "image_url": None, "embedding_input": None,
    "deduplicate": True, "use_safety_model": True, "use_violence_detector": True,
    "indice_name": "", "use_mclip": False, "aesthetic_score": "", "aesthetic_weight": "0.5",
    "modality": "image", "num_images": 3, "num_result_ids": 5,
}  # fmt: skip
"""What its front sends, with the first search's empty name."""

GOOD: dict[str, dict[str, Any]] = {
    "text": BASE | {"text": "fox"},
    "front": FRONT,
    "client": BASE | {"text": "fox", "aesthetic_score": 9, "aesthetic_weight": 0.5},
    "image": BASE | {"image": IMAGE},
    "embedding": BASE | {"embedding_input": FOX},
    "embedding-unnormalised": BASE | {"embedding_input": [10 * x for x in FOX]},
    "side-text": BASE | {"modality": "text", "text": "fox"},
    "side-unknown": BASE | {"modality": "audio", "text": "fox"},
    "null-index": BASE | {"indice_name": None, "text": "fox"},
    "text-before-image": BASE | {"text": "fox", "image": base64.b64encode(b"cat").decode()},
    "image-before-url": BASE | {"image": IMAGE, "image_url": "http://127.0.0.1:9/x.jpg"},
    "empty-text": BASE | {"text": "", "image": IMAGE},
    "no-num_result_ids": {"modality": "image", "num_images": 3, "indice_name": "animals",
                          "embedding_input": FOX},
    "safety": BASE | {"embedding_input": FOX, "use_safety_model": True},
    "aesthetic-text": BASE | {"embedding_input": FOX, "aesthetic_score": "9"},
    "huge": BASE | {"embedding_input": FOX, "num_images": 100_000, "num_result_ids": 100_000},
}  # fmt: skip

BAD: dict[str, Any] = {
    "mclip": BASE | {"text": "fox", "use_mclip": True},
    "aesthetic-null": BASE | {"text": "fox", "aesthetic_score": None},
    "aesthetic-bad": BASE | {"text": "fox", "aesthetic_score": "abc"},
    "unknown-index": BASE | {"indice_name": "nope", "text": "x"},
    "missing-index": {"modality": "image", "num_images": 3, "text": "x"},
    "missing-side": {"num_images": 3, "indice_name": "animals", "text": "x"},
    "missing-num_images": {"modality": "image", "indice_name": "animals", "text": "x"},
    "no-input": BASE,
    "only-empty-text": BASE | {"text": ""},
    "blank-text": BASE | {"text": " "},
    "bad-base64": BASE | {"image": "!!!notb64"},
    "data-url": BASE | {"image": f"data:image/jpeg;base64,{IMAGE}"},
    "image-url": BASE | {"image_url": "http://127.0.0.1:9/x.jpg"},
    "file-url": BASE | {"image_url": "file:///etc/passwd"},
    "wrong-dim": BASE | {"embedding_input": [1.0] * 10},
    "embedding-2d": BASE | {"embedding_input": [FOX]},
    "embedding-text": BASE | {"embedding_input": "abc"},
    "embedding-empty": BASE | {"embedding_input": []},
    "num-0": BASE | {"embedding_input": FOX, "num_images": 0, "num_result_ids": 0},
    "num-negative": BASE | {"embedding_input": FOX, "num_images": -1, "num_result_ids": -1},
    "num-text": BASE | {"embedding_input": FOX, "num_images": "3"},
    "num-float": BASE | {"embedding_input": FOX, "num_images": 3.0},
    "num-null": BASE | {"embedding_input": FOX, "num_images": None},
    "num-1e9": BASE | {"embedding_input": FOX, "num_result_ids": 10**9},
    "text-number": BASE | {"text": 5},
    "text-list": BASE | {"text": ["a", "b"]},
    "list": [1],
}


def ask(served: Served, body: Any, path: str = "/knn-service") -> Any:
    answer = served.http.post(path, content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_request_finds_the_fox(animals: Served, name: str) -> None:
    results = ask(animals, GOOD[name])
    assert len(results) == {"front": 5, "huge": 5}.get(name, 3)
    first = results[0]
    assert list(first) == ["url", "image_path", "caption", "id", "similarity"]
    assert first["caption"] == "fox"
    assert type(first["id"]) is int
    assert first["similarity"] == pytest.approx(
        {"embedding-unnormalised": 10}.get(name, 1), rel=0.15
    )
    assert [one["similarity"] for one in results] == sorted(
        (one["similarity"] for one in results), reverse=True
    )


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_why(animals: Served, name: str) -> None:
    answer = animals.http.post("/knn-service", content=json.dumps(BAD[name]))
    assert 400 <= answer.status_code < 500
    assert answer.json()["message"]


@pytest.mark.parametrize("body", [b"hello", b"", b"text=a&num_images=3", b"\xff", b"[" * 10**5])
def test_what_is_no_json_is_refused(animals: Served, body: bytes) -> None:
    answer = animals.http.post("/knn-service", content=body)
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_results_beyond_num_images_have_ids_alone(animals: Served) -> None:
    for with_rows, expected in ((2, 2), (0, 0), (-1, 4), (9, 5)):
        body = BASE | {"embedding_input": FOX, "num_images": with_rows, "num_result_ids": 5}
        results = ask(animals, body)
        assert ["caption" in one for one in results] == [True] * expected + [False] * (5 - expected)
        assert all(one.keys() >= {"id", "similarity"} for one in results)


def test_an_embedding_without_a_direction(animals: Served) -> None:
    zeros = ask(animals, BASE | {"embedding_input": [0.0] * 24})
    assert [one["similarity"] for one in zeros] == [0.0] * 3
    assert ask(animals, BASE | {"embedding_input": [float("nan")] * 24}) == []


def test_metadata_come_by_id(animals: Served) -> None:
    [first, third, again] = ask(animals, {"ids": [0, 2, 0], "indice_name": "animals"}, "/metadata")
    assert first == again
    assert (first["id"], first["metadata"]["caption"]) == (0, "cat")
    assert (third["id"], third["metadata"]["caption"]) == (2, "cow")
    assert ask(animals, {"ids": [], "indice_name": "nope"}, "/metadata") == []
    assert len(ask(animals, {"ids": [3] * 10_000, "indice_name": ""}, "/metadata")) == 10_000


@pytest.mark.parametrize(
    "body",
    [
        {"ids": [10**9], "indice_name": "animals"},
        {"ids": [5], "indice_name": "animals"},
        {"ids": [-1], "indice_name": "animals"},
        {"ids": [-2], "indice_name": "animals"},
        {"ids": ["3"], "indice_name": "animals"},
        {"ids": [True], "indice_name": "animals"},
        {"ids": [1]},
        {"ids": [1], "indice_name": "nope"},
        {"indice_name": "animals"},
    ],
)
def test_metadata_that_are_not_there_are_refused(animals: Served, body: Any) -> None:
    answer = animals.http.post("/metadata", content=json.dumps(body))
    assert 400 <= answer.status_code < 500
    assert answer.json()["message"]


def test_its_front_finds_what_it_asks_for(animals: Served) -> None:
    # The front's address ends with a slash, so its paths begin with two; its bodies are text.
    text = {"content-type": "text/plain;charset=UTF-8", "origin": "http://127.0.0.1:1235"}
    assert animals.http.get(f"{animals.url}//indices-list", headers=text).json() == ["animals"]
    body = json.dumps(FRONT)
    answer = animals.http.post(f"{animals.url}//knn-service", content=body, headers=text)
    assert len(answer.json()) == 5
    assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1:1235"
    assert answer.headers["x-ignored"] == "use_safety_model, use_violence_detector"
    ids = json.dumps({"ids": [0, 1], "indice_name": "animals"})
    assert len(animals.http.post(f"{animals.url}//metadata", content=ids, headers=text).json()) == 2
    config = animals.http.get("/config.json").json()
    assert config == {"defaultBackend": f"{animals.url}/", "defaultIndex": "", "urlColumn": "url"}
    for path in ("/knn-service", "/metadata", "/indices-list"):
        assert animals.http.options(path).status_code == 200
    assert animals.http.post("/indices-list", json={}).status_code == 405
    assert (
        "access-control-allow-origin"
        not in animals.http.get("/indices-list", headers={"origin": "http://evil.example"}).headers
    )


def test_metrics_are_counted(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        assert served.http.get("/metrics-summary").text == "no request of /knn-service yet\n"
        for _ in range(3):
            ask(served, GOOD["text"])
        ask(served, GOOD["image"])
        lines = served.http.get("/metrics").text.splitlines()
        assert served.http.get("/metrics/").status_code == 200
        for line in (
            "full_knn_request_time_count 4.0",
            "text_clip_inference_time_count 3.0",
            "image_clip_inference_time_count 1.0",
            "knn_index_time_count 4.0",
            'clip_assets_request_seconds_count{endpoint="/knn-service",status="200"} 4.0',
        ):
            assert line in lines
        summary = served.http.get("/metrics-summary").text
        assert summary.startswith("4 requests of /knn-service")
        shares = [float(line.split()[-1].rstrip("%")) for line in summary.splitlines()[3:]]
        assert sum(shares) <= 100.1


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Served]:
    """A service that fetches images, from the network that downloads may reach."""
    made = pool_of_animals(tmp_path)
    hosting = Hosting([HostedIndex("animals", made.pool)])
    with serving(hosting, Offer(image_urls=True)) as served:
        yield served


def test_an_image_is_fetched_by_the_rules_of_downloads(fetching: Served, site: Site) -> None:
    for url in (f"{site.url}/fox.jpg", "file:///etc/passwd", "http://169.254.169.254/", "x"):
        body = {"terms": [{"image_url": url}]}
        answer = fetching.http.post("/v1/search", json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["where"] == "image_url"


def test_an_image_of_an_allowed_host_is_fetched(tmp_path: Path, site: Site) -> None:
    site.files["/fox.jpg"] = b"fox"
    made = pool_of_animals(tmp_path)
    made.set(download={"allow_hosts": [site.url.removeprefix("http://")]})
    hosting = Hosting([HostedIndex("animals", made.pool)])
    with serving(hosting, Offer(image_urls=True)) as served:
        results = ask(served, BASE | {"image_url": f"{site.url}/fox.jpg"})
        assert results[0]["caption"] == "fox"
        answer = served.http.post("/v1/search", json={"terms": [{"image_url": f"{site.url}/no"}]})
        assert "404" in answer.json()["error"]["found"]


def test_deduplication_does_not_cost_results(animals: Served) -> None:
    vectors = np.array(FOX)
    body = BASE | {"embedding_input": vectors.tolist(), "num_images": 5, "num_result_ids": 5}
    results = ask(animals, body | {"deduplicate": True})
    assert sorted(one["caption"] for one in results) == sorted(ANIMALS)
