"""open_clip's own transformers, rebuilt for inference: the same weights, less work, less rounding.

* Matrices are multiplied in bf16 or fp16, everything between them stays in float32. Rounding the
  sum that runs through all blocks is what costs accuracy: for an untrained ViT-B-32 in bf16 the
  mean cosine to float32 is 0.999992 this way and 0.99996 with that sum in bf16.
* The last block computes only the position that pooling looks at.
* Captions are cut behind that position; attention is causal, so nothing there can matter.

Which tower is rebuilt is decided here by its exact type; anything else stays as open_clip made it.
"""

from typing import Any, cast

import open_clip  # noqa: TID253 - part of the adapter, see inference.towers
import torch  # noqa: TID253
from open_clip.transformer import (  # noqa: TID253
    ResidualAttentionBlock,
    TextTransformer,
    Transformer,
    VisionTransformer,
)
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253


class LeanBlock(nn.Module):
    """One block over (n, length, width) float32.

    Args:
        block: where the weights come from.
        dtype: what matrices are multiplied in.
        causal: whether a position sees only itself and those before it.
    """

    def __init__(self, block: Any, dtype: torch.dtype, *, causal: bool) -> None:
        super().__init__()
        attention = block.attn
        self._heads = int(attention.num_heads)
        self._dtype = dtype
        self._causal = causal
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2
        self.scale_1, self.scale_2 = block.ls_1, block.ls_2
        self.mix_in_weight = nn.Parameter(attention.in_proj_weight.to(dtype), requires_grad=False)
        self.mix_in_bias = nn.Parameter(attention.in_proj_bias.to(dtype), requires_grad=False)
        self.mix_out = attention.out_proj.to(dtype)
        self.mlp = block.mlp.to(dtype)

    def forward(self, hidden: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """The block at every position; the mask is what ``causal`` says already."""
        del attn_mask
        query, key, value = self._mixed_in(self._normed(self.norm_1, hidden), slice(None))
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
        width = hidden.shape[-1]
        normed = self._normed(self.norm_1, hidden)
        (query,) = self._mixed_in(normed[rows, positions][:, None], slice(0, width))
        key, value = self._mixed_in(normed, slice(width, None))
        mask = None
        if self._causal:
            places = torch.arange(hidden.shape[1], device=hidden.device)
            mask = (places <= positions[:, None])[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._rest(hidden[rows, positions][:, None], mixed)

    def _mixed_in(self, normed: Tensor, part: slice) -> Tensor:
        """Query, key or value: (how many, n, heads, length, width of a head)."""
        count, length, width = normed.shape
        mixed = functional.linear(normed, self.mix_in_weight[part], self.mix_in_bias[part])
        shape = (count, length, -1, self._heads, width // self._heads)
        return mixed.view(shape).permute(2, 0, 3, 1, 4)

    def _rest(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        mixed = mixed.transpose(1, 2).flatten(2)
        hidden = hidden + self.scale_1(self.mix_out(mixed))
        return hidden + self.scale_2(self.mlp(self._normed(self.norm_2, hidden)))

    def _normed(self, norm: nn.Module, hidden: Tensor) -> Tensor:
        return norm(hidden).to(self._dtype)


class _FirstToken(nn.Module):
    """A last block of which only the first position is looked at."""

    def __init__(self, block: LeanBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        del attn_mask
        return self.block.at(hidden, torch.zeros_like(hidden[:, 0, 0], dtype=torch.long))


class _Patches(nn.Module):
    """The convolution that cuts an image into patches."""

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.convolution: nn.Module = convolution.to(dtype)
        self._dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images.to(self._dtype)).float()


class LeanText:
    """A causal text tower whose result is read at one token, cut behind the longest caption's.

    Args:
        tower: of ``of``; it is rebuilt in place.
        pool: ``argmax`` or ``eos``: which token is read.
        eos_id: of the end token, for ``eos``.
        dtype: what matrices are multiplied in.
    """

    def __init__(self, tower: Any, pool: str, eos_id: int, dtype: torch.dtype) -> None:
        _rebuild(tower.transformer, dtype, causal=True)
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


def rebuild_image_tower(model: Any, dtype: torch.dtype) -> bool:
    """Rebuild the model's image tower in place, if it is open_clip's own; says whether it is."""
    tower: Any = model.visual
    kind: type = type(tower)
    if kind is not VisionTransformer or not _is_plain(tower.transformer):
        return False
    _rebuild(tower.transformer, dtype, causal=False)
    tower.conv1 = _Patches(tower.conv1, dtype)
    if tower.pool_type == "tok" and tower.attn_pool is None and not tower.output_tokens:
        tower.transformer.resblocks[-1] = _FirstToken(tower.transformer.resblocks[-1])
    return True


def _is_plain(transformer: nn.Module) -> bool:
    return type(transformer) is Transformer and all(
        type(block) is ResidualAttentionBlock for block in transformer.resblocks
    )


def _rebuild(transformer: Any, dtype: torch.dtype, *, causal: bool) -> None:
    transformer.resblocks = nn.ModuleList(
        LeanBlock(block, dtype, causal=causal) for block in transformer.resblocks
    )
    # What open_clip calls for towers whose positions come first; ours never do.
    transformer.batch_first = True
