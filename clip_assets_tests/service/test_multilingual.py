"""A pool of a model that reads captions in any script is searched in each, from files alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.encoders.openclip.loading import CONFIG
from clip_assets.encoders.openclip.pulled import WEIGHTS
from clip_assets.inference.embeddings import embeddings
from clip_assets.layout import Key
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import P, Pair, image_shards
from clip_assets_tests.service.conftest import Served, captions, search, serving
from clip_assets_tests.vectors import Indexed

CAPTIONS = [
    "a red cat",
    "a blue dog",
    "ein grüner Vogel",
    "一只红色的猫",
    "一只蓝色的狗",
    "白色的花",
]
CONTEXT = 16
IMAGE = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "cls_token": "<s>",
}


def write_tokenizer(folder: Path) -> int:
    """A Unigram tokenizer of the captions, in the files of such models; how many tokens it has."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = [*dict.fromkeys(TOKENS.values())]
    trainer = trainers.UnigramTrainer(
        vocab_size=100, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    unknown = tokenizer.token_to_id("<unk>")
    assert not any(unknown in tokenizer.encode(caption).ids for caption in CAPTIONS)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **TOKENS).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def of_xlm_roberta(folder: Path, tokens: int) -> dict[str, Any]:
    """A text tower of transformers, as open_clip's ``xlm-roberta-base-ViT-B-32`` has it."""
    from transformers import XLMRobertaConfig

    XLMRobertaConfig(
        vocab_size=tokens,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=CONTEXT + 2,
        pad_token_id=1,
    ).save_pretrained(folder)
    return {"hf_model_name": "xlm-roberta-base", "hf_pooler_type": "mean_pooler"}


def of_siglip_2(folder: Path, tokens: int) -> dict[str, Any]:
    """A text tower of open_clip, with another's tokenizer, as its ``ViT-B-16-SigLIP2`` has it."""
    del folder
    return {
        "vocab_size": tokens,
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }


def write_model(folder: Path, kind: Any) -> Path:
    """A model of random weights, as a folder that open_clip loads."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    text = {"context_length": CONTEXT, "hf_tokenizer_name": "organisation/tokenizer"}
    text |= kind(folder, write_tokenizer(folder))
    model = {"embed_dim": 32, "custom_text": True, "vision_cfg": IMAGE, "text_cfg": text}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    weights = loaded_by_open_clip(folder).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    return folder


def loaded_by_open_clip(folder: Path) -> Any:
    """The model, whose text tower open_clip itself would look for on the hub."""
    import open_clip

    text = json.loads((folder / CONFIG).read_text())["model_cfg"]["text_cfg"]
    local = {"hf_model_name": str(folder), "hf_model_pretrained": False}
    further = {"text_cfg": text | local} if "hf_model_name" in text else {}
    return open_clip.create_model(f"local-dir:{folder}", pretrained_text=False, **further)


@pytest.fixture(scope="module", params=[of_xlm_roberta, of_siglip_2])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("multilingual")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("HF_HOME", str(folder / "cache"))
        model = write_model(folder / "model", request.param)
        made = Indexed(
            Store.open(str(folder / "pool")),
            devices="none",
            inference={"model": f"local-dir:{model}", "pretrained": None},
        )
        pairs = [Pair(number, caption=caption) for number, caption in enumerate(CAPTIONS)]
        image_shards(made, [pairs])
        embeddings(made.pool, Key(P))
        made.index()
        with serving(Hosting([HostedIndex("any", made.pool)])) as served:
            yield served


def test_captions_are_found_in_their_own_script(served: Served) -> None:
    for caption in CAPTIONS:
        answer = search(served, {"text": caption}, side="text", k=2)
        first, second = answer["results"]
        assert first["caption"] == caption
        assert first["similarity"] == pytest.approx(1, abs=2e-3)
        assert second["similarity"] < first["similarity"] - 1e-3
    assert len(captions(search(served, {"text": "红色"}, side="image", k=6))) == len(CAPTIONS)


def test_texts_are_encoded_as_open_clip_encodes_them(served: Served) -> None:
    import open_clip
    import torch

    answer = served.http.post("/v1/embeddings", json={"texts": CAPTIONS}).json()
    name = served.hosting.get(None).pool.settings.inference.model
    tokens = open_clip.get_tokenizer(name)(CAPTIONS)
    plain = loaded_by_open_clip(Path(name.removeprefix("local-dir:"))).eval()
    with torch.no_grad():
        expected = plain.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(np.array(answer["embeddings"]), expected, atol=1e-3)
