"""Heads are read from every form that they are published in, and nothing else is taken for one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clip_assets.encoders.linear_head import LinearHead, read
from clip_assets.errors import SourceFormatError, SourceMissingError
from clip_assets_tests.heads import write_head

WEIGHTS = np.array([0.5, -1.0, 2.0], np.float32)
VECTORS = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float16)


@pytest.mark.parametrize("file", ["head.npy", "head.safetensors", "head.pt", "head.PTH"])
@pytest.mark.parametrize("name", ["", "linear."])
def test_every_form_gives_the_same_scores(tmp_path: Path, file: str, name: str) -> None:
    head = read(write_head(tmp_path / file, WEIGHTS, 0.25, name), 3)
    assert head.scores(VECTORS) == pytest.approx([0.75, 1.25], abs=1e-3)


def test_a_head_may_have_no_bias(tmp_path: Path) -> None:
    np.save(tmp_path / "head.npy", WEIGHTS[None])
    assert read(str(tmp_path / "head.npy"), 3).bias == 0


def test_many_vectors_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_assets.encoders.linear_head.ROWS_AT_ONCE", 2)
    vectors = np.arange(15, dtype=np.float16).reshape(5, 3)
    scores = LinearHead(WEIGHTS, 1.0).scores(vectors)
    assert scores == pytest.approx(vectors.astype(np.float32) @ WEIGHTS + 1)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        read(str(tmp_path / "none.npy"), 3)
    wide = write_head(tmp_path / "wide.npy", np.ones(7, np.float32))
    with pytest.raises(SourceFormatError, match="8 weights"):
        read(wide, 3)
    nan = write_head(tmp_path / "nan.npy", np.array([1, np.nan, 1], np.float32))
    with pytest.raises(SourceFormatError, match="not finite"):
        read(nan, 3)
    torch.save(torch.nn.Linear(3, 1), tmp_path / "pickled.pt")
    two = {"a.weight": torch.ones(1, 3), "b.weight": torch.ones(1, 3)}
    torch.save(two, tmp_path / "two.pt")
    (tmp_path / "text.npy").write_text("0.5 -1 2")
    (tmp_path / "head.bin").write_bytes(b"")
    for name in ("pickled.pt", "two.pt", "text.npy", "head.bin"):
        with pytest.raises(SourceFormatError, match=name):
            read(str(tmp_path / name), 3)
