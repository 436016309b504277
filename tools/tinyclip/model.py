"""The tiny CLIP: its shape, its folder on disk, and the small vocabulary it is trained with.

Torch and open_clip are imported when a function is called, so that the processes which draw images
do without. See ``training`` for how the model is trained.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_assets.encoders.openclip.loading import DEMO_FOLDER

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP

Features = npt.NDArray[np.float32]

MODEL_FOLDER = DEMO_FOLDER
"""Where the demo's model is replaced by the one that was trained last."""

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
IMAGE_PX = 64
CONTEXT_TOKENS = 32
VOCABULARY = 49408
BATCH = 256

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""open_clip's own normalisation, so that its defaults fit this model too."""

STD = (0.26862954, 0.26130258, 0.27577711)

MIN_HALF_ELEMENTS = 1024
"""Smaller tensors (norms, biases, the temperature) cost nothing in full precision."""

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": IMAGE_PX,
            "layers": [1, 1, 1, 1],
            "width": 16,
            "head_width": 64,
        },
        "text_cfg": {
            "context_length": CONTEXT_TOKENS,
            "vocab_size": VOCABULARY,
            "width": 64,
            "heads": 2,
            "layers": 3,
        },
    },
    "preprocess_cfg": {
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that training uses, renumbered from 1 in their order; 0 is every other token.

    CLIP's tokenizer knows 49 408 tokens and the captions use some 200. Training only their rows is
    faster, and the row of all others stays exactly zero: an unknown word adds nothing to a text.
    """

    token_ids: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tokens: npt.NDArray[np.int64]) -> "Vocabulary":
        """The vocabulary of tokenized texts, without the padding."""
        used = np.unique(tokens)
        return cls(used[used > 0])

    def renumber(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """CLIP's token ids as ids of this vocabulary."""
        lookup = np.zeros(VOCABULARY, np.int64)
        lookup[self.token_ids] = np.arange(1, len(self.token_ids) + 1)
        return lookup[tokens]


def untrained_model(vocabulary: Vocabulary) -> "CLIP":
    """A model with random weights whose token table holds only ``vocabulary``."""
    import open_clip
    from torch import nn

    model = open_clip.CLIP(**CONFIG["model_cfg"])
    width = CONFIG["model_cfg"]["text_cfg"]["width"]
    table = nn.Embedding(len(vocabulary.token_ids) + 1, width, padding_idx=0)
    nn.init.normal_(table.weight, std=0.02)
    nn.init.zeros_(table.weight[0].detach())
    model.token_embedding = table
    return model


def save_model(model: "CLIP", vocabulary: Vocabulary, folder: Path) -> None:
    """Write ``folder`` so that open_clip loads it as ``local-dir:folder``.

    The token table gets its 49 408 rows back, zero where training saw no such token.
    """
    import torch
    from safetensors.torch import save_file

    state = cast("dict[str, torch.Tensor]", model.state_dict())
    small = state["token_embedding.weight"]
    table = torch.zeros(VOCABULARY, small.shape[1])
    table[torch.from_numpy(vocabulary.token_ids)] = small[1:]
    state["token_embedding.weight"] = table
    compact = {name: _compact(tensor) for name, tensor in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{WEIGHTS_NAME}.part"
    save_file(compact, part)
    # The library writes files that only their owner may read.
    part.chmod(0o644)
    part.replace(folder / WEIGHTS_NAME)
    (folder / CONFIG_NAME).write_text(json.dumps(CONFIG, indent=2) + "\n")


class TinyClip:
    """A saved model, encoding images and texts on the CPU."""

    def __init__(self, folder: Path = MODEL_FOLDER) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        model, _, preprocess = open_clip.create_model_and_transforms(name)
        self._model = cast("CLIP", model.eval())
        self._preprocess = cast("Callable[[Image.Image], torch.Tensor]", preprocess)
        self._tokenizer = open_clip.get_tokenizer(name)
        self._known_texts: dict[str, Features] = {}

    def encode_jpegs(self, files: Sequence[bytes]) -> Features:
        """Encode image files: (len(files), 128) unit rows."""
        import torch

        parts: list[Features] = []
        for start in range(0, len(files), BATCH):
            images = [Image.open(io.BytesIO(file)) for file in files[start : start + BATCH]]
            with torch.inference_mode():
                batch = torch.stack([self._preprocess(image) for image in images])
                parts.append(self._model.encode_image(batch, normalize=True).numpy())
        return np.concatenate(parts)

    def encode_texts(self, texts: Sequence[str]) -> Features:
        """Encode texts: (len(texts), 128) unit rows. What was asked once is remembered."""
        import torch

        new = [text for text in dict.fromkeys(texts) if text not in self._known_texts]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            with torch.inference_mode():
                rows = self._model.encode_text(self._tokenizer(batch), normalize=True).numpy()
            self._known_texts.update(zip(batch, rows, strict=True))
        return np.stack([self._known_texts[text] for text in texts])


def _compact(tensor: "torch.Tensor") -> "torch.Tensor":
    import torch

    is_large = tensor.is_floating_point() and tensor.numel() >= MIN_HALF_ELEMENTS
    return (tensor.to(torch.float16) if is_large else tensor).contiguous().clone()
