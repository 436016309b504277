"""What is taken down while a service runs is in none of its next answers."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets.pool import takedowns
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.storage import uids
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

NONE = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = pool_of_animals(tmp_path / "pool")
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        yield served


def take_down(served: Served, *captions: str, urls: tuple[str, ...] = ()) -> None:
    store = served.hosting.get(None).pool.store
    takedowns.take_down(store, [uid_of(text) for text in captions], urls, NONE, None)


def test_the_next_answers_lack_it_and_are_of_the_right_number(served: Served) -> None:
    assert captions(search(served, {"text": "dog"}, k=3))[0] == "dog"
    assert served.http.get(f"/v1/images/{uid_of('dog')}", params={"size": 64}).status_code == 200
    take_down(served, "dog")
    first = search(served, {"text": "dog"}, k=3)
    assert len(first["results"]) == 3
    assert first["more"]
    assert sorted(captions(search(served, {"text": "dog"}, k=9))) == sorted({*ANIMALS} - {"dog"})
    where = search(served, {"text": "dog"}, where="language IN ('de', 'en')", k=9)
    assert "dog" not in captions(where)
    assert len(where["results"]) == 4
    [told] = served.http.get("/v1/indices").json()["indices"]
    assert (told["vectors"], told["taken_down"]) == (4, 1)


def test_no_endpoint_tells_it(served: Served) -> None:
    before = search(served, {"text": "dog"}, k=1)["results"][0]
    tag = served.http.get(f"/v1/images/{uid_of('dog')}").headers["etag"]
    take_down(served, "dog")
    http, uid = served.http, uid_of("dog")
    error(http.get(f"/v1/items/{uid}"), 404)
    error(http.get(f"/v1/images/{uid}"), 404)
    error(http.get(f"/v1/images/{uid}", headers={"if-none-match": tag}), 404)
    error(http.post("/v1/search", json={"terms": [{"uid": uid}]}), 400)
    error(http.post("/v1/subsets", json={"uids": [uid], "format": "urls"}), 400)
    found = http.post("/v1/subsets", json={"terms": [{"text": "dog"}], "k": 9, "format": "npy"})
    assert uid not in uids.texts(np.load(io.BytesIO(found.content)))
    body = {"text": "dog", "modality": "image", "num_images": 9, "indice_name": ""}
    answer = http.post("/knn-service", json=body).json()
    assert [one["id"] for one in answer if one["id"] == before["id"]] == []
    assert len(answer) == 4
    told = http.post("/metadata", json={"ids": [before["id"], 0], "indice_name": ""}).json()
    assert [bool(one["metadata"]) for one in told] == [False, True]


def test_a_url_means_all_of_its_pairs_and_can_be_taken_back(served: Served) -> None:
    url = search(served, {"text": "hen"}, k=1)["results"][0]["url"]
    take_down(served, urls=(url,))
    assert "hen" not in captions(search(served, {"text": "hen"}, k=9))
    takedowns.undo(served.hosting.get(None).pool.store, [], [url])
    assert captions(search(served, {"text": "hen"}, k=9))[0] == "hen"
