"""Model folders for machines without a network: everything that open_clip would download.

What ``clip-assets models pull NAME[/TAG]`` writes and ``inference.model: local-dir:FOLDER``
reads. See ``encoders.openclip.loading`` for how.
"""

import hashlib
import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import model_name
from clip_assets.encoders.openclip import loading
from clip_assets.encoders.openclip import pulled as pulled_folder
from clip_assets.errors import ConfigurationError, ModelLoadError
from clip_assets.settings import InferenceSettings


def pull_model(name: str, pretrained: str | None, folder: Path) -> ModelIdentity:
    """Write a folder with weights, configuration, preprocessing, tokenizer and hashes.

    A tokenizer of transformers is written; open_clip's own is part of that package. Hashes of
    all files are compared whenever the folder is loaded.

    The folder appears when it is complete and was loaded once; its model has the same digest
    as the one it was made from, so a store takes both for the same.

    Args:
        name: an open_clip name or ``hf-hub:...``.
        pretrained: open_clip tag or checkpoint path; None for ``hf-hub:``.
        folder: must not exist, or be empty.

    Returns:
        The model's identity as the folder has it.

    Raises:
        ConfigurationError: the folder holds something else.
        ModelLoadError: no such model, or it cannot be loaded without a network.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(
            str(folder), "a folder with files", "none or an empty one", "Name another folder."
        )
    _, tag = model_name(InferenceSettings(model=name, pretrained=pretrained))
    model, tokenizer = loading.load_model(name, tag)
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True)
    try:
        original = loading.identify(model, tokenizer, (name, tag), "fp32")
        _write_weights(model, part / pulled_folder.WEIGHTS)
        (part / loading.CONFIG).write_text(json.dumps(_config(name, tag, model), indent=1))
        if hasattr(tokenizer, "tokenizer"):
            tokenizer.tokenizer.save_pretrained(part)
        if "hf_model_name" in loading.model_config(name)["text_cfg"]:
            model.text.config.save_pretrained(part)
        _write_record(part, original)
        local = InferenceSettings(model=f"local-dir:{part}", precision="fp32")
        pulled = loading.load_encoder(local, "cpu").identity
        if pulled.digest() != original.digest():
            raise ModelLoadError(
                str(folder),
                pulled.describe(),
                original.describe(),
                "This model needs more than a folder can hold; use it with a network.",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return replace(pulled, name=f"local-dir:{folder}")


def _write_weights(model: Any, file: Path) -> None:
    from safetensors.torch import save_file

    # Tensors that share memory are written one by one, as safetensors wants it.
    save_file(
        {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}, file
    )


def _config(name: str, pretrained: str | None, model: Any) -> dict[str, Any]:
    """open_clip's configuration of a folder."""
    config = loading.model_config(name)
    if loading.needs_quick_gelu(name, pretrained):
        config["quick_gelu"] = True
    return {"model_cfg": config, "preprocess_cfg": model.visual.preprocess_cfg}


def _write_record(folder: Path, identity: ModelIdentity) -> None:
    files: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as content:
            files[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    record = {
        "model": identity.name,
        "pretrained": identity.pretrained,
        "weights_sha256": identity.sha256,
        "files": files,
    }
    (folder / pulled_folder.RECORD).write_text(json.dumps(record, indent=1))
