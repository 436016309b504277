"""open_clip's own transformers, rebuilt for inference: the same weights, less work, less rounding.

* Matrices are multiplied in bf16 or fp16, everything between them stays in float32. Rounding the
  sum that runs through all blocks is what costs accuracy: for an untrained ViT-B-32 in bf16 the
  mean cosine to float32 is 0.999992 this way and 0.99996 with that sum in bf16.
* The first blocks of a text tower stay in float32 altogether, see ``EXACT_TEXT_BLOCKS``.
* Pixels enter as the bytes that they are: normalising them is part of the first weights.
* The last block computes only the position that pooling looks at.
* Captions are cut behind that position; attention is causal, so nothing there can matter.

Which tower is rebuilt is decided here by its exact type; anything else stays as open_clip made it.
"""

from typing import Any, cast

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from open_clip.transformer import (
    ResidualAttentionBlock,
    TextTransformer,
    Transformer,
    VisionTransformer,
)
from torch import Tensor, nn
from torch.nn import functional

from clip_assets.encoders.openclip.dense import Dense

EXACT_TEXT_BLOCKS = 3
"""Blocks in float32 where the others are in bf16. Two thirds of an untrained ViT-B-32's error
arise there, in a sum that is still small: 1 - cosine is 3.4e-5 without them and 1.1e-5 with."""


class LeanBlock(nn.Module):
    """One block over (n, length, width) float32.

    Args:
        block: where the weights come from, on the device to compute on.
        dtype: what matrices are multiplied in.
        causal: whether a position sees only itself and those before it.
    """

    def __init__(self, block: Any, dtype: torch.dtype, *, causal: bool) -> None:
        super().__init__()
        attention = block.attn
        self._heads = int(attention.num_heads)
        self._causal = causal
        # In float32 a CPU's attention is as fast as in bf16, and exact.
        on_cpu = attention.in_proj_weight.device.type == "cpu"
        self._attention_dtype = torch.float32 if on_cpu else dtype
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2
        self.scale_1, self.scale_2 = block.ls_1, block.ls_2
        self.mix_in = Dense(attention.in_proj_weight, attention.in_proj_bias, dtype)
        self.mix_out = Dense.of(attention.out_proj, dtype)
        self.widen = Dense.of(block.mlp.c_fc, dtype, block.mlp.gelu)
        self.narrow = Dense.of(block.mlp.c_proj, dtype)

    def forward(self, hidden: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """The block at every position, in place; the mask is what ``causal`` says already."""
        del attn_mask
        query, key, value = self._mixed_in(hidden)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self._causal)
        return self._rest(hidden, mixed)

    def at(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """The block's result at one position of each row only.

        Args:
            hidden: (n, length, width).
            positions: (n,) int64.

        Returns:
            (n, 1, width).
        """
        rows = torch.arange(len(hidden), device=hidden.device)
        query, key, value = self._mixed_in(hidden)
        query = query[rows, :, positions][:, :, None]
        mask = None
        if self._causal:
            places = torch.arange(hidden.shape[1], device=hidden.device)
            mask = (places <= positions[:, None])[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._rest(hidden[rows, positions][:, None], mixed)

    def _mixed_in(self, hidden: Tensor) -> Tensor:
        """Query, key and value: (3, n, heads, length, width of a head)."""
        count, length, width = hidden.shape
        mixed = self.mix_in(self.norm_1(hidden)).to(self._attention_dtype)
        shape = (count, length, 3, self._heads, width // self._heads)
        return mixed.view(shape).permute(2, 0, 3, 1, 4)

    def _rest(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        mixed = mixed.transpose(1, 2).flatten(2)
        hidden += self.scale_1(self.mix_out(mixed))
        hidden += self.scale_2(self.narrow(self.widen(self.norm_2(hidden))))
        return hidden


class _FirstToken(nn.Module):
    """A last block of which only the first position is looked at."""

    def __init__(self, block: LeanBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        del attn_mask
        return self.block.at(hidden, torch.zeros_like(hidden[:, 0, 0], dtype=torch.long))


class _Patches(nn.Module):
    """The convolution that cuts an image into patches, of pixels as bytes.

    Normalising is linear, so the weights do it. What is subtracted from the pixels is rounded
    to whole levels: their difference has eight bits, which bf16 holds exactly.
    """

    def __init__(self, convolution: nn.Conv2d, config: PreprocessCfg, dtype: torch.dtype) -> None:
        super().__init__()
        self._side = cast("tuple[int, int]", convolution.kernel_size)
        device = convolution.weight.device
        mean, std = (255 * torch.tensor(x, dtype=torch.float64) for x in (config.mean, config.std))
        self._middle = mean.round().to(device, dtype)
        weight = convolution.weight.detach().cpu().double() / std[:, None, None]
        bias = (weight.sum((2, 3)) * (mean.round() - mean)).sum(1)
        if convolution.bias is not None:
            bias += convolution.bias.detach().cpu()
        # Channels last, as the pixels are.
        weight = weight.permute(0, 2, 3, 1).flatten(1).to(device)
        self._product = Dense(weight, torch.zeros(len(weight), device=device), dtype)
        self._bias = bias.to(device, torch.float32)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, height, width, 3) uint8 to (n, out, patches) float32."""
        high, wide = self._side
        count, height, width, channels = pixels.shape
        rows, columns = height // high, width // wide
        whole = pixels[:, : rows * high, : columns * wide].to(self._middle.dtype) - self._middle
        cut = whole.reshape(count, rows, high, columns, wide, channels).transpose(2, 3)
        patches = cut.reshape(count, rows * columns, high * wide * channels)
        return (self._product(patches).float() + self._bias).transpose(1, 2)


class LeanText:
    """A causal text tower whose result is read at one token, cut behind the longest caption's.

    Args:
        tower: of ``of``; it is rebuilt in place.
        pool: ``argmax`` or ``eos``: which token is read.
        eos_id: of the end token, for ``eos``.
        dtype: what matrices are multiplied in.
    """

    def __init__(self, tower: Any, pool: str, eos_id: int, dtype: torch.dtype) -> None:
        exact = EXACT_TEXT_BLOCKS if dtype == torch.bfloat16 else 0
        _rebuild(tower.transformer, dtype, causal=True, exact=exact)
        self._tower = tower
        self._pool = pool
        self._eos_id = eos_id

    @classmethod
    def of(cls, model: Any, dtype: torch.dtype) -> "LeanText | None":
        """The model's text tower, rebuilt, if it is of that kind."""
        tower: Any = model
        if type(model) is open_clip.CLIP:
            pool, eos_id = str(model.text_pool_type), cast("int", model.text_eos_id)
        elif type(getattr(model, "text", None)) is TextTransformer and model.text.cls_emb is None:
            tower = model.text
            pool, eos_id = tower.pool_type, tower.eos_id
        else:
            return None
        if tower.attn_mask is None or pool not in ("argmax", "eos"):
            return None
        return cls(tower, pool, eos_id, dtype) if _is_plain(tower.transformer) else None

    def positions(self, tokens: Tensor) -> Tensor:
        """Where each row's result is read, (n,) int64."""
        of_interest = (tokens == self._eos_id).int() if self._pool == "eos" else tokens
        return of_interest.argmax(dim=-1)

    def __call__(self, tokens: Tensor) -> Tensor:
        """open_clip's ``encode_text`` for (n, length) tokens of any length, (n, dim)."""
        tower = self._tower
        hidden = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
        *blocks, last = tower.transformer.resblocks
        for block in blocks:
            hidden = block(hidden)
        pooled = tower.ln_final(last.at(hidden, self.positions(tokens))[:, 0])
        projection = tower.text_projection
        if projection is None:
            return pooled
        return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection


def rebuild_image_tower(model: Any, config: PreprocessCfg, dtype: torch.dtype) -> bool:
    """Rebuild the model's image tower in place, if it is open_clip's own; says whether it is.

    Rebuilt, it takes (n, height, width, 3) uint8 in place of normalised numbers.
    """
    tower: Any = model.visual
    kind: type = type(tower)
    if kind is not VisionTransformer or not _is_plain(tower.transformer):
        return False
    _rebuild(tower.transformer, dtype, causal=False)
    tower.conv1 = _Patches(tower.conv1, config, dtype)
    if tower.pool_type == "tok" and tower.attn_pool is None and not tower.output_tokens:
        tower.transformer.resblocks[-1] = _FirstToken(tower.transformer.resblocks[-1])
    return True


def _is_plain(transformer: nn.Module) -> bool:
    return type(transformer) is Transformer and all(
        type(block) is ResidualAttentionBlock for block in transformer.resblocks
    )


def _rebuild(transformer: Any, dtype: torch.dtype, *, causal: bool, exact: int = 0) -> None:
    """Replace the blocks; ``exact`` says how many of the first compute in float32."""
    transformer.resblocks = nn.ModuleList(
        LeanBlock(block, torch.float32 if number < exact else dtype, causal=causal)
        for number, block in enumerate(transformer.resblocks)
    )
    # What open_clip calls for towers whose positions come first; ours never do.
    transformer.batch_first = True
