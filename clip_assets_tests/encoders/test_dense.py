"""Layers in the processor's own layout compute what PyTorch's do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from clip_assets.encoders.openclip.dense import Dense


@pytest.mark.parametrize("has_onednn", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.GELU("tanh"), nn.SiLU()])
def test_dense_is_a_linear_layer_and_its_activation(
    has_onednn: bool, activation: nn.Module | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_onednn:
        # As in a PyTorch that was built without it.
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    random = torch.Generator().manual_seed(0)
    weight, bias, rows = (
        torch.randn(shape, generator=random) for shape in ((24, 16), (24,), (3, 5, 16))
    )
    dense = Dense(weight, bias, torch.bfloat16, activation)
    with torch.inference_mode():
        found = dense(rows)
        expected = functional.linear(rows, weight, bias)
        expected = activation(expected) if activation else expected
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.15, rtol=0.02)
