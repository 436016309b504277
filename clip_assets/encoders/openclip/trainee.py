"""An open_clip model that learns from nothing, step by step, and can be kept half way.

Which samples it sees and how often it is looked at is the matter of ``experiment``; models that are
only used are those of ``towers``.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clip_assets.encoders.identity import DEMO
from clip_assets.encoders.openclip import lazy_open_clip
from clip_assets.encoders.openclip.loading import DEMO_FOLDER, model_config
from clip_assets.errors import ConfigurationError, DamagedError

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of each colour from 0 to 1, open_clip's defaults."""

MOST_SCALE = math.log(100)
"""CLIP's bound on the temperature."""

BETAS = 0.9, 0.98


@dataclass(frozen=True, slots=True)
class Regime:
    """How a model learns.

    Args:
        model: whose shape it has: ``demo``, a name of open_clip, or ``local-dir:`` with a folder.
        steps: from first to last.
        learning_rate: the highest; it rises over ``warmup`` steps, and falls as a cosine to 0.
        warmup: steps.
        weight_decay: AdamW's, of matrices.
        seed: of the weights that it begins with.
    """

    model: str
    steps: int
    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 0.2
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Trainee:
    """A model with its optimizer.

    Args:
        regime: how it learns.
        device: of torch; by default the first GPU if there is one.

    Attributes:
        step: how many it has made.
        side: of the images that it sees, in pixels.

    Raises:
        ConfigurationError: open_clip knows no such model.
    """

    def __init__(self, regime: Regime, device: str | None = None) -> None:
        lazy_open_clip.load()
        import open_clip

        self.regime = regime
        self.step = 0
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        name = f"local-dir:{DEMO_FOLDER}" if regime.model == DEMO else regime.model
        if self._device.type == "cpu":
            # Threads that decode need a core, and torch's own wait for each other at every sum.
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
        torch.manual_seed(regime.seed)
        try:
            side = model_config(name)["vision_cfg"]["image_size"]
            model = open_clip.create_model(
                name, load_weights=False, pretrained_image=False, pretrained_text=False
            )
        except (LookupError, OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(
                "model", f"{regime.model}: {error}", "a model of open_clip", "Choose another one."
            ) from error
        self.side: int = side if isinstance(side, int) else side[0]
        self._tokenize: Any = open_clip.get_tokenizer(name)
        self._model: Any = model
        self._model.to(self._device, memory_format=torch.channels_last)
        self._loss = open_clip.ClipLoss()
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in self._model.parameters() if w.ndim >= 2]},
                {"params": [w for w in self._model.parameters() if w.ndim < 2], "weight_decay": 0},
            ],
            betas=BETAS,
            eps=1e-6,
            weight_decay=regime.weight_decay,
        )

    def learn(self, images: torch.Tensor, captions: Sequence[str]) -> float:
        """Make one step; the loss before it.

        Args:
            images: (n, 3, side, side) uint8.
            captions: (n,).
        """
        self._model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self.regime.rate(self.step)
        tokens = self._tokenize(list(captions)).to(self._device)
        with self._cast():
            image = self._model.encode_image(self._normal(images), normalize=True)
            text = self._model.encode_text(tokens, normalize=True)
        scale = self._model.logit_scale.exp()
        loss = self._loss(image.float(), text.float(), scale)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._model.logit_scale.data.clamp_(max=MOST_SCALE)
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def of_images(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(n, dim) unit rows of (n, 3, side, side) uint8."""
        self._model.eval()
        with self._cast():
            made = self._model.encode_image(self._normal(images), normalize=True)
        return made.float().cpu().numpy()

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, dim) unit rows."""
        self._model.eval()
        with self._cast():
            made = self._model.encode_text(
                self._tokenize(list(texts)).to(self._device), normalize=True
            )
        return made.float().cpu().numpy()

    def keep(self, part: Path, told: dict[str, Any]) -> None:
        """Write all that is needed to go on, and what the caller has to know then."""
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "told": told,
        }
        with part.open("wb") as file:  # by its path, torch says nothing of what went wrong
            torch.save(state, file)

    def go_on(self, file: Path) -> dict[str, Any]:
        """Take up what ``keep`` wrote; what the caller has to know.

        Raises:
            DamagedError: it is not what was written, or of another model.
        """
        try:
            state = torch.load(file, map_location=self._device, weights_only=True)
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            return state["told"]
        except Exception as error:  # what damaged files make of torch
            raise DamagedError(
                str(file), f"{type(error).__name__}", "a training that was kept", "Remove it."
            ) from error

    def _normal(self, images: torch.Tensor) -> torch.Tensor:
        mean, deviation = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in (MEAN, DEVIATION)
        )
        floats = images.to(self._device).float() / 255
        return ((floats - mean) / deviation).contiguous(memory_format=torch.channels_last)

    def _cast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"
        )
