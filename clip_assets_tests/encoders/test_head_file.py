"""Heads are read from every form that they are published in, and nothing else is taken for one."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clip_assets.encoders.head import LinearHead, NetworkHead
from clip_assets.encoders.head_file import read, told
from clip_assets.errors import (
    ConfigurationError,
    SourceChangedError,
    SourceFormatError,
    SourceMissingError,
)
from clip_assets_tests.heads import write_head
from clip_assets_tests.vectors import Floats

WEIGHTS = np.array([0.5, -1.0, 2.0], np.float32)
VECTORS = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float16)


@pytest.mark.parametrize("file", ["head.npy", "head.safetensors", "head.pt", "head.PTH"])
@pytest.mark.parametrize("name", ["", "linear."])
def test_every_form_gives_the_same_scores(tmp_path: Path, file: str, name: str) -> None:
    head = read(write_head(tmp_path / file, WEIGHTS, 0.25, name), 3)
    assert head.scores(VECTORS) == pytest.approx([0.75, 1.25], abs=1e-3)


def test_a_head_may_have_no_bias(tmp_path: Path) -> None:
    np.save(tmp_path / "head.npy", WEIGHTS[None])
    head = read(str(tmp_path / "head.npy"), 3)
    assert isinstance(head, LinearHead)
    assert head.bias == 0


def test_many_vectors_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_assets.encoders.head.ROWS_AT_ONCE", 2)
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
    (tmp_path / "head.onnx").write_bytes(b"")
    for name in ("pickled.pt", "two.pt", "text.npy", "head.bin", "head.onnx"):
        with pytest.raises(SourceFormatError, match=name):
            read(str(tmp_path / name), 3)


def network(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    """A small or large network as those who publish one build it."""
    torch.manual_seed(seed)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return nn.Sequential(*layers).eval()


def save(path: Path, trained: nn.Sequential, prefix: str = "layers.") -> str:
    torch.save({f"{prefix}{name}": value for name, value in trained.state_dict().items()}, path)
    return str(path)


def vectors_of(dim: int) -> Floats:
    drawn = np.random.default_rng(3).standard_normal((7, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def outputs(trained: nn.Module, vectors: Floats) -> Floats:
    with torch.no_grad():
        return trained(torch.from_numpy(vectors))[:, 0].numpy()


def test_the_later_aesthetic_predictor_of_laion_is_read_as_it_is_published(tmp_path: Path) -> None:
    linear, drop = nn.Linear, nn.Dropout
    widths = (768, 1024), (1024, 128), (128, 64), (64, 16), (16, 1)
    first, second, third, fourth, last = (linear(*pair) for pair in widths)
    trained = network(first, drop(0.2), second, drop(0.2), third, drop(0.1), fourth, last)
    head = read(save(tmp_path / "sac+logos+ava1-l14-linearMSE.pth", trained), 768)
    assert isinstance(head, LinearHead), "nothing stands between its layers"
    vectors = vectors_of(768)
    np.testing.assert_allclose(head.scores(vectors), outputs(trained, vectors), atol=1e-5)


def test_the_detector_of_unsafe_images_over_vit_h_14_is_read_as_it_is_published(
    tmp_path: Path,
) -> None:
    widths = (1024, 1024, 2048, 1024, 256, 128, 16)
    layers: list[nn.Module] = []
    for pair in pairwise(widths):
        layers += [nn.Linear(*pair), nn.ReLU(), nn.Dropout(0.2)]
    trained = network(*layers[:-2], nn.Linear(16, 1))
    head = read(path := save(tmp_path / "h14_nsfw.pth", trained), 1024)
    vectors = vectors_of(1024)
    expected = outputs(trained, vectors)
    np.testing.assert_allclose(head.scores(vectors), expected, atol=1e-5)
    lowered = read(f"{path}#above=0.5", 1024)
    np.testing.assert_allclose(lowered.scores(vectors), expected - 0.5, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "layers.", "model.head."])
def test_what_stands_between_layers_is_said(tmp_path: Path, prefix: str) -> None:
    trained = network(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))
    path = save(tmp_path / "own.pt", trained, prefix)
    with pytest.raises(SourceFormatError, match=r"layers at 0, 2, 4.*activation=relu"):
        read(path, 3)
    head = read(f"{path}#activation=relu", 3)
    vectors = vectors_of(3)
    np.testing.assert_allclose(head.scores(vectors), outputs(trained, vectors), atol=1e-6)
    linear = network(*[layer for layer in trained if isinstance(layer, nn.Linear)])
    linear.load_state_dict(
        {f"{n // 2}.{k}": v for n in (0, 2, 4) for k, v in trained[n].state_dict().items()}
    )
    for name in (save(tmp_path / "linear.pt", linear, prefix), f"{path}#activation=none"):
        scores = read(name, 3).scores(vectors)
        np.testing.assert_allclose(scores, outputs(linear, vectors), atol=1e-6)


def test_a_direction_is_that_in_which_the_score_rises(tmp_path: Path) -> None:
    trained = network(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), seed=1)
    head = read(f"{save(tmp_path / 'own.pt', trained)}#activation=relu", 6)
    assert isinstance(head, NetworkHead)
    for vector in vectors_of(6):
        given = torch.from_numpy(vector).requires_grad_()
        trained(given[None]).backward()
        assert given.grad is not None
        np.testing.assert_allclose(head.direction(vector), given.grad.numpy(), atol=1e-6)


def test_prompts_say_which_is_nearest_as_the_detector_of_violence_does(tmp_path: Path) -> None:
    prompts, vectors = vectors_of(4)[:3], vectors_of(4)
    np.save(tmp_path / "prompts.npy", prompts)
    head = read(str(tmp_path / "prompts.npy"), 4)
    is_violent = np.argmax(vectors @ prompts.T, axis=1) == 1
    assert 0 < is_violent.sum() < len(vectors)
    assert ((head.scores(vectors) > 0) == is_violent).all()
    step = vectors + 0.01 * np.stack([head.direction(vector) for vector in vectors])
    assert (head.scores(step) > head.scores(vectors)).all()


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([nn.Linear(4, 2), nn.Linear(2, 1)], "layers of 4 x 2 x 1"),
        ([nn.Linear(3, 2), nn.Linear(2, 2)], "layers of 3 x 2 x 2"),
        ([nn.Linear(3, 2), nn.Linear(3, 1)], "layers of 3 x 2 x 1"),
        ([nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)], "tensors"),
    ],
)
def test_another_network_is_told(tmp_path: Path, layers: list[nn.Module], found: str) -> None:
    with pytest.raises(SourceFormatError, match=found):
        read(save(tmp_path / "own.pt", network(*layers)), 3)


def test_options_stand_behind_the_name(tmp_path: Path) -> None:
    path = write_head(tmp_path / "a#b.npy", WEIGHTS)
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    head = read(f"{path}#above=-0.25&sha256={sha256}", 3)
    assert head.scores(np.zeros((1, 3), np.float32)) == [0.25]
    assert told(f"{path}#above=1") != told(path)
    before = told(f"{path}#above=1")
    write_head(Path(path), WEIGHTS, 3.0)
    assert told(f"{path}#above=1") != before
    with pytest.raises(SourceChangedError):
        read(f"{path}#sha256={sha256}", 3)
    for wrong in ("activation=gelu", "above=much", "above=1&activation=", "above=nan"):
        with pytest.raises(ConfigurationError, match="#activation=none or relu"):
            read(f"{path}#{wrong}", 3)
