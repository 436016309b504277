"""Linear heads over embeddings: a score is the product with one vector, and a bias.

How vectors are made is the matter of encoders; what a score means is said by who trained the head.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets.errors import SourceFormatError
from clip_assets.files import opening
from clip_assets.files.pinned import pinned

ROWS_AT_ONCE = 100_000
"""Of vectors that are float32 in memory together."""


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear head.

    Args:
        weights: (dim,) float32.
        bias: added to every product.
    """

    weights: npt.NDArray[np.float32]
    bias: float

    def scores(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The score of each of (n, dim) embeddings of length 1, (n,)."""
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            some = vectors[start : start + ROWS_AT_ONCE].astype(np.float32)
            parts.append(some @ self.weights + np.float32(self.bias))
        return np.concatenate(parts)


def read(uri: str, dim: int) -> LinearHead:
    """A head of a file.

    An ``.npy`` has the weights, (dim,) or (1, dim), and perhaps the bias behind them;
    ``.safetensors``, ``.pt`` and ``.pth`` have one tensor whose name ends in ``weight`` and
    perhaps one whose name ends in ``bias``, as a linear layer is saved.

    Args:
        uri: a path, or a url with the hash of its file, see ``files.pinned``.
        dim: of the embeddings.

    Raises:
        SourceMissingError: there is no such file.
        SourceFormatError: it is no linear head over embeddings of this width.
    """
    path = str(pinned(uri, {}))
    content = opening.content(path)
    kind = uri.partition("#")[0].rpartition(".")[2].lower()
    try:
        weights, bias = _tensors(kind, content)
    except Exception as error:  # whatever the readers of three formats raise
        told = str(error).partition("\n")[0][:200]
        raise _no_head(uri, f"{type(error).__name__}: {told}", dim) from error
    if weights.size == dim + 1 and bias is None:
        weights, bias = weights[:-1], weights[-1:]
    is_one = bias is None or bias.size == 1
    if weights.size != dim or not is_one:
        raise _no_head(uri, f"{weights.size:,} weights", dim)
    head = LinearHead(weights, 0.0 if bias is None else float(bias[0]))
    if not np.isfinite([*head.weights, head.bias]).all() or not head.weights.any():
        raise _no_head(uri, "weights that are 0 or not finite", dim)
    return head


def _tensors(
    kind: str, content: bytes
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Weights and bias, flat."""
    if kind == "npy":
        stored = np.load(io.BytesIO(content), allow_pickle=False)
        return stored.astype(np.float32).reshape(-1), None
    if kind not in ("safetensors", "pt", "pth"):
        raise ValueError(f"a file called .{kind}")
    from clip_assets.encoders.openclip.state import state_of

    named = state_of(content, is_pickled=kind != "safetensors")
    weights, biases = (
        [
            np.asarray(value, np.float32).reshape(-1)
            for name, value in named.items()
            if name.endswith(end)
        ]
        for end in ("weight", "bias")
    )
    if len(weights) != 1 or len(biases) > 1:
        raise ValueError(f"tensors {', '.join(named)[:100]}")
    return weights[0], biases[0] if biases else None


def _no_head(uri: str, found: str, dim: int) -> SourceFormatError:
    return SourceFormatError(
        uri,
        found,
        f"a linear layer over {dim} numbers: .npy, .safetensors, .pt or .pth",
        "Give a head that was trained on embeddings of the pool's model.",
    )
