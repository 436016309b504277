"""Weights as torch saves them, without whatever else a pickle can hold."""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch


def state_of(content: bytes) -> Mapping[str, npt.NDArray[np.float32]]:
    """The tensors of a saved state by name; a file that holds anything but tensors is refused."""
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: value.float().numpy() for name, value in saved.items()}
