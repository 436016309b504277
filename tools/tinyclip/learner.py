"""One optimizer step of the tiny CLIP, on two threads.

Which images and captions it sees, and for how long, decides ``training``.
"""

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tools.tinyclip.model import MEAN, STD

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP

WEIGHT_DECAY = 0.05

MAX_LOGIT_SCALE = math.log(100)
"""CLIP's bound on the temperature: logits are never scaled by more than 100."""

MAX_GRADIENT_NORM = 1.0

HALVES = 2
"""Two threads of one core each on half a batch: with torch's own threads inside the operators the
same two cores train at less than half the speed once anything else runs on the machine."""


class Learner:
    """One optimizer over two copies of a model that share weights but not batch statistics."""

    def __init__(self, model: "CLIP") -> None:
        import open_clip
        import torch

        torch.set_num_threads(1)
        model.visual.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.model = model.train()
        self.copies = [model, _twin(model)]
        self.weights = list(model.parameters())
        inner = [weight for weight in self.weights if weight is not model.logit_scale]
        self.inner = inner
        self.loss = open_clip.ClipLoss()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in self.weights if w.ndim >= 2]},
                {"params": [w for w in self.weights if w.ndim < 2], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=WEIGHT_DECAY,
        )
        self.threads = ThreadPoolExecutor(HALVES, initializer=torch.set_num_threads, initargs=(1,))

    def step(
        self, pixels: npt.NDArray[np.uint8], tokens: npt.NDArray[np.int64], rate: float
    ) -> float:
        """Learn from one batch and return its loss."""
        import torch

        halves = zip(
            self.copies,
            np.array_split(pixels, HALVES),
            np.array_split(tokens, HALVES),
            strict=True,
        )
        features = [
            future.result() for future in [self.threads.submit(_encode, *h) for h in halves]
        ]
        # The loss needs the whole batch, its gradient by the features is all the halves need.
        leaves = [[part.detach().requires_grad_() for part in half] for half in features]
        image, text = (torch.cat(side) for side in zip(*leaves, strict=True))
        loss = self.loss(image, text, self.model.logit_scale.exp())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parts = [
            self.threads.submit(
                torch.autograd.grad, half, self.inner, [leaf.grad for leaf in leaf_]
            )
            for half, leaf_ in zip(features, leaves, strict=True)
        ]
        for weight, *gradients in zip(self.inner, *[part.result() for part in parts], strict=True):
            weight.grad = gradients[0] + gradients[1]
        torch.nn.utils.clip_grad_norm_(self.weights, MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        return float(loss.detach())


def _twin(model: "CLIP") -> "CLIP":
    """A copy of ``model`` with the same parameter objects and buffers of its own."""
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def _encode(
    model: "CLIP", pixels: npt.NDArray[np.uint8], tokens: npt.NDArray[np.int64]
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Unit features of images and texts, with their graphs."""
    import torch

    shift = torch.tensor(MEAN).view(1, 3, 1, 1)
    scale = torch.tensor(STD).view(1, 3, 1, 1)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    image = ((image - shift) / scale).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        visual = model.visual(image)
    visual = torch.nn.functional.normalize(visual.float(), dim=-1)
    return visual, model.encode_text(torch.from_numpy(tokens), normalize=True)
