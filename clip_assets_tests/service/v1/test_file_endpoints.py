"""Images, subsets and embeddings as bytes."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_assets.retrieval.images import Images
from clip_assets.service.v1 import sent_images
from clip_assets.storage import uids
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.service.conftest import ANIMALS, Served, error, uid_of


def test_an_image_comes_as_it_is_stored_and_smaller(animals: Served) -> None:
    stored = animals.http.get(f"/v1/images/{uid_of('dog')}")
    assert stored.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(stored.content)).size == (200, 100)
    small = animals.http.get(f"/v1/images/{uid_of('dog')}", params={"size": 50})
    assert small.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(small.content)).size == (64, 32)
    again = animals.http.get(f"/v1/images/{uid_of('dog')}", params={"size": 60})
    assert again.content == small.content
    assert stored.headers["etag"] != small.headers["etag"] == again.headers["etag"]
    asked = {"if-none-match": small.headers["etag"]}
    known = animals.http.get(f"/v1/images/{uid_of('dog')}", params={"size": 50}, headers=asked)
    assert (known.status_code, known.content) == (304, b"")


def test_a_thumbnail_that_two_make_at_once_is_kept_once(
    animals: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Barrier(2)

    class Together(Images):
        """Lets a thread go on when the other one has read the image, too."""

        def read(self, image_path: str) -> bytes:
            content = super().read(image_path)
            both.wait(30)
            return content

    with animals.hosting.get("animals").opened() as version:
        images, thumbnails = Together(version.searcher.pool.store), sent_images.Thumbnails()

    def get(_number: int) -> sent_images.SentImage:
        return thumbnails.get(images, "00000/00000/00000001", 64, "a tag")

    thumbnail = animals.http.get(f"/v1/images/{uid_of('dog')}", params={"size": 64}).content
    monkeypatch.setattr(sent_images, "KEPT_BYTES", len(thumbnail))  # of one, and not of two
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(get, range(2))
    assert first == second
    assert get(0) is get(0)  # else it would wait for another one


def test_an_image_that_is_not_there_is_told(animals: Served) -> None:
    # The second partition's shards are gone.
    assert error(animals.http.get(f"/v1/images/{uid_of('hen')}"), 503)
    for uid in ("f" * 32, "x", "..%2f..%2fetc%2fpasswd"):
        assert animals.http.get(f"/v1/images/{uid}").status_code == 404
    for size in ("0", "-1", "99999", "a"):
        answer = animals.http.get(f"/v1/images/{uid_of('dog')}", params={"size": size})
        error(answer, 422)


def test_a_search_becomes_a_subset(animals: Served) -> None:
    body = {"terms": [{"text": "cat"}], "k": 3, "format": "npy"}
    answer = animals.http.post("/v1/subsets", json=body)
    assert answer.headers["content-disposition"].endswith('.npy"')
    written = np.load(io.BytesIO(answer.content))
    expected = animals.http.post("/v1/search", json={"terms": [{"text": "cat"}], "k": 3}).json()
    assert sorted(uids.texts(written)) == sorted(one["uid"] for one in expected["results"])
    assert uids.texts(written) == sorted(uids.texts(written))


@pytest.mark.parametrize("caption", ANIMALS)
def test_chosen_pairs_become_rows_and_urls(animals: Served, caption: str) -> None:
    body = {"uids": [uid_of(caption)], "columns": ["language"], "format": "parquet"}
    content = animals.http.post("/v1/subsets", json=body).content
    [row] = pq.read_table(io.BytesIO(content)).to_pylist()
    assert (row["caption"], row["language"] in ("en", "de")) == (caption, True)
    assert row["pair_similarity"] == 0.25
    urls = animals.http.post("/v1/subsets", json=body | {"format": "urls"})
    assert urls.text == f"{row['url']}\n"


def test_a_subset_of_nothing_known_is_refused(animals: Served) -> None:
    unknown = {"uids": [uid_of("cat"), "f" * 32]}
    assert "f" * 32 in error(animals.http.post("/v1/subsets", json=unknown), 400)["found"]
    for body in ({}, {"uids": []}, {"uids": ["x"]}, {"uids": [uid_of("cat")], "format": "exe"}):
        error(animals.http.post("/v1/subsets", json=body), 422)


def test_texts_become_vectors(animals: Served) -> None:
    texts = ["cat", "a dog", "cat"]
    expected = WordEncoder().encode_text(texts)
    told = animals.http.post("/v1/embeddings", json={"texts": texts}).json()
    assert told["dim"] == 24
    assert np.allclose(told["embeddings"], expected)
    asked = {"accept": "application/x-npy"}
    content = animals.http.post("/v1/embeddings", json={"texts": texts}, headers=asked).content
    assert np.array_equal(np.load(io.BytesIO(content)), expected.astype(np.float32))
    error(animals.http.post("/v1/embeddings", json={"texts": []}), 422)
