"""Scores from vectors against their formulas, written out in numpy."""

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model
from clip_assets.errors import ConfigurationError, SourceError, SourceFormatError
from clip_assets.layout import Key
from clip_assets.settings import with_subset
from clip_assets.storage import tables, vectors
from clip_assets.subsets import vector_scores
from clip_assets.subsets.candidates import MetadataFolder, PoolRows
from clip_assets.subsets.choosing import choose
from clip_assets.subsets.folder_writer import write_folder
from clip_assets.subsets.vector_scores import batches, neg_clip_loss, norm_sim, second_moment
from clip_assets_tests.outcomes import Outcomes, Pair

DIM = 12


def made_up(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of images, and of texts near them, not of length 1."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(rows, DIM))
    return images.astype(np.float16), (images + random.normal(size=(rows, DIM))).astype(np.float16)


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def oracle(images: np.ndarray, texts: np.ndarray, t: float) -> np.ndarray:
    """negCLIPLoss within one batch, by its formula."""
    similar = unit(images) @ unit(texts).T
    expected = np.log(np.exp(similar / t).sum(1)) + np.log(np.exp(similar / t).sum(0))
    return np.diag(similar) - t / 2 * expected


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_a_pair_is_compared_with_its_batches(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    monkeypatch.setattr(vector_scores, "STRIPE_ROWS", 7)
    images, texts = made_up(100)
    keys = np.random.default_rng(1).integers(0, 2**64, 100, np.uint64)
    scores = neg_clip_loss(images, texts, keys, batch=34, rounds=3, temperature=temperature)
    expected = np.zeros(100)
    drawn = [batches(keys, 34, number) for number in range(3)]
    for rows in (rows for one in drawn for rows in one):
        assert len(rows) in (33, 34)
        expected[rows] += oracle(images[rows], texts[rows], temperature) / 3
    assert np.abs(scores - expected).max() < 2e-5
    for one in drawn:
        assert sorted(np.concatenate(one).tolist()) == [*range(100)]
    assert drawn[0][0].tolist() != drawn[1][0].tolist()


def test_a_caption_that_goes_with_no_image_has_a_score() -> None:
    images = np.tile(np.eye(1, DIM, dtype=np.float32), (20, 1))
    texts = images * np.where(np.arange(20) == 3, -1, 1)[:, None]
    keys = np.arange(20, dtype=np.uint64)
    scores = neg_clip_loss(images, texts, keys, batch=20, rounds=1, temperature=0.01)
    assert np.abs(scores - oracle(images, texts, 0.01)).max() < 1e-5


def test_an_image_is_compared_with_all_targets() -> None:
    images, targets = made_up(50)
    expected = np.sqrt(((unit(images) @ unit(targets).T) ** 2).sum(1))
    assert np.abs(norm_sim(images, second_moment(targets)) - expected).max() < 1e-5


def uid(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


@pytest.fixture
def embedded(made: Outcomes) -> tuple[Outcomes, np.ndarray, np.ndarray]:
    """Forty pairs in two partitions with vectors; every seventh has no image."""
    images, texts = made_up(40)
    for number in range(2):
        numbers = [*range(20 * number, 20 * number + 20)]
        pairs = [
            Pair(f"{n}", uid=uid(n), url=f"http://h/{n}",
                 status="success" if n % 7 else "failed_to_download")
            for n in numbers
        ]  # fmt: skip
        key = made.add(number, pairs, per_shard=8)
        # The vectors lie in another order than the pairs.
        had = [n for n in numbers if n % 7][::-1]
        rows = [
            {
                "uid": uid(n),
                "key": f"{n % 20:08d}",
                "image_path": f"{key}/{n % 20 // 8:05d}/{n % 20:08d}",
                "similarity": 0.3,
            }
            for n in had
        ]
        table = pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
        files = {
            layout.embedding_rows(key): partial(tables.write, table=table),
            layout.img_emb(key): partial(put, array=images[had]),
            layout.text_emb(key): partial(put, array=texts[had]),
        }
        made.make(layout.EMBEDDINGS, key, len(had), files)
    made.metadata()
    return made, images, texts


def test_a_folder_of_datacomps_has_the_pools_vectors(
    embedded: tuple[Outcomes, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    made, *sides = embedded
    rows = PoolRows(made.pool, made.pool.partitions)
    count = sum(n % 7 > 0 for n in range(40))
    claim_model(made.pool.store, ModelIdentity("demo", None, "d" * 64, "resize", DIM, "fp32"))
    assert write_folder(rows, tmp_path / "metadata", own_as="b32", features=True) == count
    numbers = {uid(n): n for n in range(40)}
    for file in (tmp_path / "metadata").glob("*.parquet"):
        own = [numbers[one] for one in pq.read_table(file)["uid"].to_pylist()]
        arrays = np.load(file.with_suffix(".npz"))
        for name, side in zip(("b32_img", "b32_txt"), sides, strict=True):
            assert np.array_equal(arrays[name], side[own])
    named = with_subset({}, "mine", {"vectors": "negcliploss", "arch": "b32", "k": 3})
    picked = choose(MetadataFolder(str(tmp_path / "metadata")), named, "mine", None)
    assert picked.facts["negcliploss"]["model"] == "demo"


def put(part: Path, array: np.ndarray) -> None:
    vectors.write(part, [array], *array.shape)


def chosen(made: Outcomes, definition: dict[str, Any]) -> list[int]:
    made.set(subsets={"mine": definition})
    made.subset("mine")
    numbers = {int(uid(n), 16): n for n in range(40)}
    return sorted(numbers[int(hi) << 64 | int(lo)] for hi, lo in made.uids("mine"))


def test_a_pool_is_chosen_from_by_its_vectors(
    embedded: tuple[Outcomes, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    made, images, texts = embedded
    had = np.array([n for n in range(40) if n % 7])
    scores = oracle(images[had], texts[had], 0.1)
    best = had[np.argsort(-scores)]
    definition = {"vectors": "negcliploss", "fraction": 0.5, "temperature": 0.1}
    assert chosen(made, definition) == sorted(best[:17].tolist())
    np.save(targets := tmp_path / "targets.npy", images[:3].astype(np.float32))
    scores = np.sqrt(((unit(images[had]) @ unit(images[:3]).T) ** 2).sum(1))
    best = had[np.argsort(-scores)]
    definition = {"vectors": "normsim", "targets": str(targets), "fraction": 0.25}
    assert chosen(made, definition) == sorted(best[:8].tolist())
    report = made.pool.catalog.require(layout.SUBSETS, Key("mine")).report
    assert report.figures["normsim"]["candidates"] == len(had)
    with pytest.raises(ConfigurationError, match="own vectors"):
        chosen(made, definition | {"arch": "l14"})
    for wrong in (np.zeros((2, DIM + 1)), np.zeros(DIM), np.zeros((0, DIM)), np.zeros((2, 2), int)):
        np.save(targets, wrong)
        with pytest.raises(SourceFormatError, match=r"a \.npy of vectors"):
            chosen(made, definition)


def test_datacomps_features_choose_too(tmp_path: Path) -> None:
    images, texts = made_up(40)
    for number in range(2):
        rows = slice(20 * number, 20 * number + 20)
        table = pa.table({"uid": pa.array([uid(n) for n in range(40)][rows])})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        np.savez(tmp_path / f"{number}.npz", l14_img=images[rows], l14_txt=texts[rows])
    definition = {"vectors": "negcliploss", "arch": "l14", "fraction": 0.25, "temperature": 0.1}
    named = with_subset({}, "mine", definition)
    choose(MetadataFolder(str(tmp_path)), named, "mine", tmp_path / "out.npy")
    best = np.argsort(-oracle(images, texts, 0.1))[:10]
    expected = np.sort(
        np.array([(int(uid(n)[:16], 16), int(uid(n)[16:], 16)) for n in best], np.dtype("u8,u8"))
    )
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)
    other = with_subset({}, "mine", {"vectors": "negcliploss", "arch": "b32", "threshold": 0})
    with pytest.raises(ConfigurationError, match="l14_img, l14_txt, expected b32_img"):
        choose(MetadataFolder(str(tmp_path)), other, "mine", None)


def test_a_pipe_among_metadata_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="no file, such as a pipe"):
        MetadataFolder(str(tmp_path))
