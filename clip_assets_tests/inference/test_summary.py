"""Vectors that are no embeddings stop a partition."""

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import schemas
from clip_assets.errors import UnsoundVectorsError
from clip_assets.inference.chunks import Chunk
from clip_assets.inference.summary import EmbeddingSummary, check_unit_rows, cosines


def unit(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def chunk(
    image: np.ndarray, text: np.ndarray, captions: list[str | None], hashes: str = ""
) -> Chunk:
    similarity = cosines(image, text)
    rows = [
        {
            "uid": f"{number:032x}",
            "image_path": f"00000/{caption}/{number}",
            "sha256": hashes[number] if hashes else None,
            "key": "0",
            "caption": caption,
            "similarity": float(similarity[number]),
        }
        for number, caption in enumerate(captions)
    ]
    table = pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
    inputs = pa.Table.from_pylist(
        [{"digest": bytes(16), "is_caption_cut": caption == "7"} for caption in captions],
        schemas.EMBEDDING_INPUTS,
    )
    return Chunk(table, image, text, {"gone": 1}, inputs)


def test_figures_are_means_over_all_chunks() -> None:
    summary = EmbeddingSummary("embeddings 00000")
    image, text = unit(40), unit(40, 1)
    captions = [str(number) for number in range(40)]
    summary.add(chunk(image[:25], text[:25], captions[:25]))
    summary.add(chunk(image[25:], text[25:], captions[25:]))
    summary.check()
    wide = image.astype(np.float64)
    between = wide @ wide.T
    assert summary.rows == 40
    assert summary.dropped == {"gone": 2}
    assert summary.figures()["captions_cut"] == 1
    assert summary.figures()["mean_similarity"] == pytest.approx(
        cosines(image, text).mean(), abs=1e-5
    )
    expected = between[~np.eye(40, dtype=bool)].mean()
    assert summary.figures()["mean_cosine_between_images"] == pytest.approx(expected, abs=1e-3)
    assert summary.picture().startswith(b"\x89PNG")
    assert len(summary.picture()) < 150_000


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.5])
def test_a_row_that_is_no_unit_row_is_refused(value: float) -> None:
    rows = unit(5)
    rows[3] = value
    with pytest.raises(UnsoundVectorsError, match=r"1 of 5 rows.*first row 3"):
        check_unit_rows(rows, "image embeddings")


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_model_that_tells_nothing_apart_is_refused(side: str) -> None:
    same, varied = np.tile(unit(1), (20, 1)), unit(20)
    captions: list[str | None] = [str(number) for number in range(20)]
    summary = EmbeddingSummary("embeddings 00000")
    summary.add(chunk(*((same, varied) if side == "image" else (varied, same)), captions))
    with pytest.raises(UnsoundVectorsError, match=f"{side} embeddings.*tells nothing apart"):
        summary.check()


def test_different_files_with_one_vector_are_refused() -> None:
    same = np.tile(unit(1), (20, 1))
    summary = EmbeddingSummary("embeddings 00000")
    captions: list[str | None] = [str(number) for number in range(20)]
    summary.add(chunk(same, unit(20), captions, "abcdefghijklmnopqrst"))
    with pytest.raises(UnsoundVectorsError, match="20 different images"):
        summary.check()


def test_one_picture_with_many_captions_is_no_collapse() -> None:
    same = np.tile(unit(1), (20, 1))
    summary = EmbeddingSummary("embeddings 00000")
    for tar in range(2):
        captions: list[str | None] = [f"{tar} {number}" for number in range(20)]
        summary.add(chunk(same, unit(20, tar), captions, "a" * 20))
    summary.check()
    assert summary.figures()["different_images"] == 1
    assert summary.figures()["different_captions"] == 40


def test_equal_captions_are_no_collapse() -> None:
    summary = EmbeddingSummary("embeddings 00000")
    summary.add(chunk(unit(20), np.tile(unit(1), (20, 1)), ["same"] * 19 + [None]))
    summary.check()


def test_equal_captions_of_many_tars_are_no_collapse() -> None:
    summary = EmbeddingSummary("embeddings 00000")
    for tar in range(20):
        summary.add(chunk(unit(3, tar), np.tile(unit(1), (3, 1)), [None] * 3))
    summary.check()
    assert summary.figures()["mean_cosine_between_captions"] == 0


def test_an_empty_partition_has_no_mean() -> None:
    summary = EmbeddingSummary("embeddings 00000")
    summary.check()
    assert summary.figures()["mean_similarity"] is None
    assert summary.picture()
