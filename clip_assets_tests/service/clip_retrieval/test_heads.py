"""Linear heads answer what clip-retrieval asks of its models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets_tests.heads import write_head
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.service.conftest import ANIMALS, Served, pool_of_animals, serving

ASKED = {
    "modality": "image", "num_images": 5, "indice_name": "", "text": "cat",
    "aesthetic_score": 9, "aesthetic_weight": 5, "use_safety_model": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A pool to whose heads foxes are pleasing, hens unsafe and dogs violent.

    Served once more as ``alike``, where one head judges both of what is left out.
    """
    folder = tmp_path_factory.mktemp("judged")
    made, words = pool_of_animals(folder / "pool"), WordEncoder()
    vectors = words.encode_images([words.preprocess(one.encode()) for one in ANIMALS])
    of = dict(zip(ANIMALS, vectors.astype(np.float32), strict=True))

    def only(animal: str) -> str:
        others = max(float(of[animal] @ of[one]) for one in ANIMALS if one != animal)
        return write_head(folder / f"{animal}.npy", of[animal], -(1 + others) / 2)

    pleasing = write_head(folder / "fox.safetensors", of["fox"])
    unsafe = only("hen")
    made.set(heads={"aesthetic": pleasing, "safety": unsafe, "violence": only("dog")})
    judged = HostedIndex("animals", made.pool)
    made.set(heads={"safety": unsafe, "violence": unsafe})
    with serving(Hosting([judged, HostedIndex("alike", made.pool)])) as served:
        yield served


def knn(served: Served, strict: bool = False, **further: Any) -> httpx.Response:
    headers = {"prefer": "handling=strict"} if strict else {}
    return served.http.post("/knn-service", content=json.dumps(ASKED | further), headers=headers)


def animals_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["caption"] for one in answer.json()]


def test_a_score_leads_towards_what_the_head_finds_pleasing(judged: Served) -> None:
    plain = animals_of(knn(judged, aesthetic_score=""))
    assert plain[0] == "cat"
    assert animals_of(knn(judged))[0] == "fox"
    assert animals_of(knn(judged, aesthetic_score=0))[-1] == "fox"
    assert animals_of(knn(judged, aesthetic_weight=0)) == plain
    assert animals_of(knn(judged, aesthetic_score="4.5")) == plain


def test_unsafe_results_are_left_out(judged: Served) -> None:
    safe = knn(judged)
    assert sorted(animals_of(safe)) == sorted({*ANIMALS} - {"hen"})
    assert "x-ignored" not in safe.headers
    assert sorted(animals_of(knn(judged, use_safety_model=False))) == sorted(ANIMALS)


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("peaceful", [False, True])
def test_each_head_leaves_out_its_own(judged: Served, safe: bool, peaceful: bool) -> None:
    asked = {"use_safety_model": safe, "use_violence_detector": peaceful}
    left_out = {name for name, is_out in (("hen", safe), ("dog", peaceful)) if is_out}
    assert sorted(animals_of(knn(judged, **asked))) == sorted({*ANIMALS} - left_out)
    both = animals_of(knn(judged, indice_name="alike", aesthetic_score="", **asked))
    assert ("hen" in both) == (not safe and not peaceful)


def test_a_head_that_is_not_there_is_ignored_or_refused(judged: Served, animals: Served) -> None:
    asked = {"use_violence_detector": True}
    names = "use_safety_model, use_violence_detector, aesthetic_score"
    assert knn(animals, **asked).headers["x-ignored"] == names
    answer = knn(animals, strict=True, **asked)
    assert (answer.status_code, "use_violence_detector" in answer.json()["message"]) == (400, True)
    assert len(animals_of(knn(judged, strict=True))) == len(ANIMALS) - 1


def test_a_head_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path / "pool")
    made.set(heads={"safety": str(tmp_path / "gone.npy")})
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        answer = knn(served)
    assert (answer.status_code, "gone.npy" in answer.json()["message"]) == (503, True)


@pytest.mark.parametrize("score", ["1e999", 1e6, None, []])
def test_a_score_that_cannot_be_is_refused(judged: Served, score: Any) -> None:
    assert knn(judged, aesthetic_score=score).status_code == 400
