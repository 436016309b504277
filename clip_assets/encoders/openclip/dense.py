"""Linear layers in low precision, laid out for the processor that multiplies them.

On a CPU, oneDNN multiplies bf16 fastest from weights in an order of its own, and applies GELU
to a result while that is in its registers; PyTorch offers both only to its compiler, whose
start would cost a minute. Anywhere else this is ``torch.nn.functional.linear``.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 1600
"""Rows that the order of weights is chosen for: 32 images of 50 positions. Any number works."""


class Dense(nn.Module):
    """A linear layer and what follows it.

    Args:
        weight: (out, in), on the device to compute on.
        bias: (out,).
        dtype: what is multiplied in, and the type of the result.
        activation: applied to the result.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, dtype: torch.dtype, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self._dtype = dtype
        self._weight, self._bias = weight.detach().to(dtype), bias.detach().to(dtype)
        self._activation = activation
        self._is_packed = dtype == torch.bfloat16 and weight.device.type == "cpu" and _has_onednn()
        self._fused: tuple[str, str] = ("none", "")
        if self._is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, ROWS)
            if type(activation) is nn.GELU:
                self._fused, self._activation = ("gelu", activation.approximate), None

    @classmethod
    def of(cls, linear: Any, dtype: torch.dtype, activation: nn.Module | None = None) -> "Dense":
        """The same as a linear layer of PyTorch."""
        return cls(linear.weight, linear.bias, dtype, activation)

    def forward(self, rows: Tensor) -> Tensor:
        """(..., in) of any floating type to (..., out) of the layer's."""
        rows = rows.to(self._dtype)
        if self._is_packed:
            unary, algorithm = self._fused
            result = torch.ops.mkldnn._linear_pointwise(
                rows, self._weight, self._bias, unary, [], algorithm
            )
        else:
            result = functional.linear(rows, self._weight, self._bias)
        return result if self._activation is None else self._activation(result)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
