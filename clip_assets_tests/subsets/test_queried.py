"""Subsets by queries, against what numpy says of the same vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clip_assets import layout
from clip_assets.commands.subset import _query
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.layout import Key
from clip_assets.settings import with_subset
from clip_assets.storage.store import Store
from clip_assets.subsets.candidates import MetadataFolder
from clip_assets.subsets.choosing import Picked, choose
from clip_assets_tests.outcomes import Pair
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.subsets.test_by_vectors import made_up, unit
from clip_assets_tests.subsets.vectored import Vectored, uid

ROWS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pairs in three files with vectors."""
    images, texts = made_up(ROWS)
    folder = tmp_path_factory.mktemp("metadata")
    for number in range(3):
        rows = slice(20 * number, 20 * number + 20)
        table = pa.table({"uid": [uid(n) for n in range(ROWS)][rows]})
        pq.write_table(table, folder / f"{number}.parquet")
        np.savez(folder / f"{number}.npz", l14_img=images[rows], l14_txt=texts[rows])
    for number, vector in enumerate(made_up(3, seed=5)[0].astype(np.float32)):
        np.save(folder / f"query{number}.npy", vector)
    return folder


@pytest.fixture
def choosing(folder: Path, tmp_path: Path) -> Callable[..., tuple[list[int], Picked]]:
    """Numbers of the pairs that queries list, and what is told."""

    def of(queries: list[dict[str, Any]], **others: Any) -> tuple[list[int], Picked]:
        definition = {"queries": queries, "arch": "l14"} | others
        named = with_subset({}, "mine", definition)
        picked = choose(MetadataFolder(str(folder)), named, "mine", file := tmp_path / "out.npy")
        numbers = {int(uid(n), 16): n for n in range(ROWS)}
        return sorted(numbers[int(hi) << 64 | int(lo)] for hi, lo in np.load(file)), picked

    return of


def similar(folder: Path, numbers: list[int], side: int = 0) -> npt.NDArray[np.float64]:
    queries = np.stack([np.load(folder / f"query{n}.npy") for n in numbers])
    return unit(made_up(ROWS)[side]) @ unit(queries).T


def file(folder: Path, number: int) -> str:
    return str(folder / f"query{number}.npy")


def best(scores: npt.NDArray[np.float64], k: int) -> list[int]:
    return sorted(np.argsort(-scores)[:k].tolist())


def test_so_many_of_each_and_from_a_similarity_on(
    folder: Path, choosing: Callable[..., tuple[list[int], Picked]]
) -> None:
    near = similar(folder, [0, 1])
    listed, picked = choosing(
        [{"embedding": file(folder, 0), "k": 7}, {"embedding": file(folder, 1), "threshold": 0.2}]
    )
    above = np.flatnonzero(near[:, 1] >= 0.2).tolist()
    assert listed == sorted({*best(near[:, 0], 7), *above})
    first, second = picked.facts["queries"]
    assert (first["wanted"], first["listed"], first["available"]) == (7, 7, ROWS)
    assert second["listed"] == len(above)
    texts = similar(folder, [0], side=1)[:, 0]
    listed, _ = choosing([{"embedding": file(folder, 0), "k": 5, "side": "text"}])
    assert listed == best(texts, 5)


def test_what_cannot_be_met_is_said(
    folder: Path, choosing: Callable[..., tuple[list[int], Picked]]
) -> None:
    near = similar(folder, [0])[:, 0]
    count = int((near >= 0.4).sum())
    assert 0 < count < 30
    listed, picked = choosing([{"embedding": file(folder, 0), "k": 30}], threshold=0.4)
    assert len(listed) == count
    assert picked.facts["queries"][0]["not_met"] == f"30 wanted, {count} near enough"
    listed, picked = choosing([{"embedding": file(folder, 0), "threshold": 0.999}])
    assert listed == []
    assert picked.facts["queries"][0]["not_met"] == "nothing is near enough"


@given(
    shares=st.lists(st.floats(0.1, 9), min_size=1, max_size=3),
    floor=st.floats(-0.3, 0.3),
    total=st.none() | st.integers(1, ROWS),
)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_shares_are_kept(
    folder: Path,
    choosing: Callable[..., tuple[list[int], Picked]],
    shares: list[float],
    floor: float,
    total: int | None,
) -> None:
    near = similar(folder, [*range(len(shares))])
    queries = [{"embedding": file(folder, n), "share": share} for n, share in enumerate(shares)]
    bounds = {"threshold": floor} | ({} if total is None else {"total": total})
    listed, picked = choosing(queries, **bounds)
    own = [
        np.flatnonzero((near.argmax(1) == n) & (near[:, n] >= floor)) for n in range(len(shares))
    ]
    parts = np.array(shares) / sum(shares)
    size = total or int(min(len(rows) / part for rows, part in zip(own, parts, strict=True)) + 1e-9)
    expected: list[int] = []
    told = picked.facts["queries"]
    for rows, part, one in zip(own, parts, told, strict=True):
        number = told.index(one)
        count = min(one["wanted"], len(rows))
        assert abs(one["wanted"] - part * size) < 1 + 1e-6
        assert ("not_met" in one) == (one["wanted"] > len(rows))
        expected += rows[np.argsort(-near[rows, number])][:count].tolist()
    assert listed == sorted(expected)
    if total:
        assert sum(one["wanted"] for one in told) == total


def test_terms_and_pairs(folder: Path, choosing: Callable[..., tuple[list[int], Picked]]) -> None:
    terms = [{"embedding": file(folder, 0)}, {"embedding": file(folder, 1), "weight": -0.5}]
    first, second = (unit(np.load(folder / f"query{n}.npy")[None])[0] for n in (0, 1))
    listed, picked = choosing([{"terms": terms, "k": 6}])
    assert listed == best(unit(made_up(ROWS)[0]) @ (first - second / 2), 6)
    assert picked.facts["queries"][0]["query"].startswith("+1 embedding")
    images = unit(made_up(ROWS)[0])
    listed, _ = choosing([{"uid": uid(41), "k": 4}])
    assert listed == best(images @ images[41], 4)
    with pytest.raises(ConfigurationError, match="no pair with an image"):
        choosing([{"uid": "0" * 32, "k": 4}])
    opposite = [{"embedding": file(folder, 0)}, {"embedding": file(folder, 0), "weight": -1}]
    with pytest.raises(ConfigurationError, match="cancel"):
        choosing([{"terms": opposite, "k": 1}])
    with pytest.raises(ConfigurationError, match="has no model"):
        choosing([{"text": "a dog", "k": 1}])
    np.save(folder / "other.npy", np.ones(5, np.float32))
    with pytest.raises(ConfigurationError, match="12, as the rows have"):
        choosing([{"embedding": str(folder / "other.npy"), "k": 1}])
    np.save(folder / "other.npy", np.ones((2, 12), np.float32))
    with pytest.raises(SourceFormatError, match="one vector"):
        choosing([{"embedding": str(folder / "other.npy"), "k": 1}])


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ({"queries": []}, "at least 1"),
        ({"queries": [{"text": "dogs"}]}, "how much of each"),
        ({"queries": [{"k": 3}]}, "say one of text"),
        ({"queries": [{"text": "a", "image": "b", "k": 3}]}, "say one of text"),
        ({"queries": [{"text": "a", "k": 3, "share": 1}]}, "either k or share"),
        ({"queries": [{"text": "a", "k": 3}, {"text": "b", "share": 1}]}, "every query"),
        ({"queries": [{"text": "a", "k": 3, "treshold": 1}]}, "queries.0.treshold: no such"),
        ({"queries": [{"terms": [{"text": "a", "weight": 0}], "k": 3}]}, "0 is no wish"),
    ],
)
def test_wishes_that_are_none(definition: dict[str, Any], told: str) -> None:
    with pytest.raises((ValidationError, ConfigurationError), match=told):
        with_subset({}, "mine", definition)


def test_words_and_images_mean_what_the_pools_model_says(
    local_store: Store, tmp_path: Path
) -> None:
    words = WordEncoder()
    made = Vectored(local_store, encoder=WordEncoder)
    captions = [f"caption {n}" for n in range(12)]
    images = words.encode_images([words.preprocess(caption.encode()) for caption in captions])
    texts = words.encode_text(captions)
    for part in range(2):
        numbers = range(6 * part, 6 * part + 6)
        pairs = [Pair(captions[n], url=f"http://h/{n}", uid=uid(n)) for n in numbers]
        made.embed(part, pairs, images[numbers], texts[numbers])
    made.metadata()
    (image := tmp_path / "image").write_bytes(b"caption 8")
    queries = [{"text": "caption 3", "k": 1}, {"image": str(image), "threshold": 0.99}]
    assert made.chosen({"queries": queries}, 12) == [3, 8]
    report = made.pool.catalog.require(layout.SUBSETS, Key("mine")).report
    assert report.figures["queries"][0]["query"] == "caption 3"
    assert "query 1" in report.pictures
    assert report.balances
    image.write_bytes(b"caption 9")
    assert made.chosen({"queries": queries}, 12) == [3, 9]
    made.set(subsets={"mine": {"queries": [{"text": "caption", "k": 1}], "arch": "b32"}})
    with pytest.raises(ConfigurationError, match="own model"):
        made.subset("mine")


def test_a_command_tells_parts_from_words() -> None:
    assert _query("dogs: 30%", None) == {"text": "dogs", "share": 30.0}
    assert _query("time 12:30", 5) == {"text": "time 12:30", "k": 5}
