"""Weights as torch and safetensors save them, without whatever else a pickle can hold."""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load


def state_of(content: bytes, *, is_pickled: bool) -> Mapping[str, npt.NDArray[np.float32]]:
    """The tensors of a saved state by name; a pickle of anything but tensors is refused."""
    saved = (
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if is_pickled
        else load(content)
    )
    return {name: value.float().numpy() for name, value in saved.items()}
