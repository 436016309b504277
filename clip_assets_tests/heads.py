"""Linear heads in files of every form."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]


def write_head(path: Path, weights: Weights, bias: float = 0.0, name: str = "") -> str:
    """A head as its suffix wants it; ``name`` stands before those of tensors."""
    both = {f"{name}weight": weights[None], f"{name}bias": np.array([bias], np.float32)}
    if path.suffix == ".npy":
        np.save(path, np.append(weights, np.float32(bias)))
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(both, path)
    else:
        import torch

        torch.save({key: torch.from_numpy(value) for key, value in both.items()}, path)
    return str(path)
