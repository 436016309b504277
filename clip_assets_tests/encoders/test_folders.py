"""Pulled model folders: complete, provable, and the same model to a store."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.openclip import lazy_open_clip
from clip_assets.encoders.openclip.folders import pull_model
from clip_assets.encoders.openclip.loading import CONFIG, load_encoder
from clip_assets.encoders.openclip.pulled import RECORD, WEIGHTS, check
from clip_assets.errors import ConfigurationError, ModelLoadError
from clip_assets.settings import InferenceSettings


def test_a_pulled_folder_is_the_same_model(
    model_folder: Path, encoder: Encoder, tmp_path: Path, images: Callable[..., bytes]
) -> None:
    folder = tmp_path / "models" / "small"
    identity = pull_model(f"local-dir:{model_folder}", None, folder)
    pulled = load_encoder(InferenceSettings(model=f"local-dir:{folder}", precision="fp32"), "cpu")
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
    settings = InferenceSettings(model="RN50-quickgelu", pretrained=str(checkpoint))
    assert load_encoder(settings, "cpu").identity.digest() == identity.digest()


def test_a_folder_in_use_is_left_alone(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="folder with files"):
        pull_model(f"local-dir:{model_folder}", None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32"])
def test_a_text_tower_of_a_package_that_is_not_there_names_the_package(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # open_clip itself keeps what it found when it was imported, for all tests of the process.
    lazy_open_clip.load()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelLoadError, match=r"roberta-base.*pip install 'clip-assets\[hf\]'"):
        pull_model(name, "laion2b_s12b_b32k", tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def write_model_of_transformers(folder: Path, name: str) -> None:
    """A small model whose text tower and tokenizer are of transformers, under a hub's name."""
    import open_clip
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    words = [*special.values(), "[SEP]", "a", "cat", "dog", "red"]
    spelled = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(spelled, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token="[SEP]", **special)
    fast.save_pretrained(folder)
    BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    ).save_pretrained(folder)
    image = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"hf_model_name": name, "hf_tokenizer_name": name, "context_length": 16}
    config = {"embed_dim": 32, "vision_cfg": image, "text_cfg": text | {"hf_proj_type": "mlp"}}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    local = {"hf_model_name": str(folder), "hf_model_pretrained": False}
    model = open_clip.create_model(
        f"local-dir:{folder}", pretrained_text=False, text_cfg=config["text_cfg"] | local
    )
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS
    )


def test_a_text_tower_of_transformers_is_pulled_and_loaded_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    made = tmp_path / "made"
    write_model_of_transformers(made, "an-organisation/a-tower")
    identity = pull_model(f"local-dir:{made}", None, tmp_path / "pulled")
    moved = (tmp_path / "pulled").rename(tmp_path / "moved")
    encoder = load_encoder(InferenceSettings(model=f"local-dir:{moved}", precision="fp32"), "cpu")
    assert encoder.identity.digest() == identity.digest()
    captions = ["a red cat", "a dog", "", "unknown " * 100]
    original = load_encoder(InferenceSettings(model=f"local-dir:{made}", precision="fp32"), "cpu")
    vectors = encoder.encode_text(captions)
    np.testing.assert_array_equal(vectors, original.encode_text(captions))
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == len(captions)


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
        load_encoder(InferenceSettings(model=f"local-dir:{folder}"), "cpu")


def test_every_file_of_a_pulled_folder_is_compared(tmp_path: Path) -> None:
    files = {"tokenizer.json": hashlib.sha256(b"words").hexdigest(), WEIGHTS: "not read again"}
    (tmp_path / RECORD).write_text(json.dumps({"weights_sha256": "w", "files": files}))
    name = f"local-dir:{tmp_path}"
    (tmp_path / "tokenizer.json").write_bytes(b"words")
    check(name, "w")
    (tmp_path / "tokenizer.json").write_bytes(b"other words")
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        check(name, "w")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json gone"):
        check(name, "w")


def test_a_pipe_among_the_files_of_a_model_is_refused(tmp_path: Path) -> None:
    """Whoever opens one waits for somebody who writes to it."""
    os.mkfifo(tmp_path / CONFIG)
    settings = InferenceSettings(model=f"local-dir:{tmp_path}")
    with pytest.raises(ModelLoadError, match=rf"no file, such as a pipe \({CONFIG}\)"):
        load_encoder(settings, "cpu")


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{}", b"\xff", b'{"weights_sha256": 1, "files": 2}']
)
def test_a_damaged_record_of_a_pulled_folder_is_told(tmp_path: Path, record: bytes) -> None:
    (tmp_path / RECORD).write_bytes(record)
    with pytest.raises(ModelLoadError, match=f"a damaged {RECORD}"):
        check(f"local-dir:{tmp_path}", "0")
