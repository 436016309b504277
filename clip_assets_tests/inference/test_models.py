"""Pulled model folders: complete, provable, and the same model to a store."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clip_assets.errors import ConfigurationError, ModelLoadError
from clip_assets.inference.encoder import Encoder
from clip_assets.inference.models import WEIGHTS, pull_model
from clip_assets.inference.openclip import CONFIG, RECORD, load_encoder
from clip_assets.settings import Inference


def test_a_pulled_folder_is_the_same_model(
    model_folder: Path, encoder: Encoder, tmp_path: Path, images: Callable[..., bytes]
) -> None:
    folder = tmp_path / "models" / "small"
    identity = pull_model(f"local-dir:{model_folder}", None, folder)
    pulled = load_encoder(Inference(model=f"local-dir:{folder}", precision="fp32"), "cpu")
    assert pulled.identity == identity
    assert identity.digest() == encoder.identity.digest()
    np.testing.assert_array_equal(pulled.encode_text(["a cat"]), encoder.encode_text(["a cat"]))
    pixels = [encoder.preprocess(images(1))]
    np.testing.assert_array_equal(pulled.encode_images(pixels), encoder.encode_images(pixels))
    record = json.loads((folder / RECORD).read_text())
    assert record["weights_sha256"] == encoder.identity.sha256
    assert sorted(record["files"]) == [CONFIG, WEIGHTS]
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


@pytest.mark.slow
def test_a_checkpoint_is_pulled_with_its_models_configuration(tmp_path: Path) -> None:
    import open_clip
    import torch

    checkpoint = tmp_path / "random.pt"
    torch.save(open_clip.create_model("RN50-quickgelu").state_dict(), checkpoint)
    identity = pull_model("RN50-quickgelu", str(checkpoint), tmp_path / "rn50")
    settings = Inference(model="RN50-quickgelu", pretrained=str(checkpoint))
    assert load_encoder(settings, "cpu").identity.digest() == identity.digest()


def test_a_folder_in_use_is_left_alone(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="folder with files"):
        pull_model(f"local-dir:{model_folder}", None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32"])
def test_a_text_tower_of_a_package_that_is_not_there_names_the_package(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ModelLoadError, match=r"roberta-base.*pip install transformers"):
        pull_model(name, "laion2b_s12b_b32k", tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_pull_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="ViT-Z-99"):
        pull_model("ViT-Z-99", "laion2b", tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_other_weights_in_a_pulled_folder_are_refused(
    model_folder: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    pull_model(f"local-dir:{model_folder}", None, folder)
    (folder / WEIGHTS).write_bytes((make_model(seed=1) / WEIGHTS).read_bytes())
    with pytest.raises(ModelLoadError, match=RECORD):
        load_encoder(Inference(model=f"local-dir:{folder}"), "cpu")
