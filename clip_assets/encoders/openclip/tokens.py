"""Captions to the tokens that a text tower reads, and which of them it reads the beginning of.

A tower has a fixed context: what lies behind is cut off by the tokenizer, start and end tokens
count. What tokens become is computed by ``towers``.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clip_assets.encoders.encoder import Mask

CHARACTERS_PER_TOKEN = 32
"""No token of CLIP's vocabulary is longer, so what lies behind cannot reach the model."""

CACHED_WORDS = 200_000
"""open_clip's tokenizer remembers every word it ever met; beyond this many it starts afresh."""


class Tokens:
    """A model's own tokenizer, for many threads.

    Args:
        tokenizer: open_clip's: its own, or one of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokenizing = threading.Lock()
        self._context = int(tokenizer.context_length)
        blank = tokenizer([""])[0].tolist()
        # A tokenizer may put one token behind the padding; all others end with it.
        self._behind = int(blank[-1] != blank[-2])
        self._padding = int(blank[-1 - self._behind])

    def of(self, captions: Sequence[str]) -> Tensor:
        """(n, context) int64."""
        if not captions:
            return torch.zeros((0, 1), dtype=torch.long)
        return self._made(captions, self._context)

    def cut(self, captions: Sequence[str], tokens: Tensor) -> Mask:
        """Which captions have more tokens than the tower reads, (n,) bool.

        Only those whose tokens fill the context are looked at again, with a context of one more:
        that of a whole caption has nothing but one more padding.

        Args:
            captions: n of them.
            tokens: theirs, see ``of``.
        """
        is_cut = np.zeros(len(captions), np.bool_)
        end = tokens.shape[1] - self._behind
        # Where padding is the token that ends a caption, a full row ends with one of it.
        is_full = (tokens[:, max(end - 2, 0) : end] != self._padding).any(dim=1)
        rows: list[int] = np.flatnonzero(is_full.numpy()).tolist()
        if len(rows):
            longer = self._made([captions[row] for row in rows], self._context + 1)
            full = tokens[torch.tensor(rows)]
            padding = torch.full((len(rows), 1), self._padding)
            whole = torch.cat([full[:, :end], padding, full[:, end:]], dim=1)
            is_cut[rows] = (longer != whole).any(dim=1).numpy()
        return is_cut

    def _made(self, captions: Sequence[str], context: int) -> Tensor:
        limit = CHARACTERS_PER_TOKEN * context
        with self._tokenizing:
            if len(getattr(self._tokenizer, "cache", ())) > CACHED_WORDS:
                self._tokenizer.cache = dict(list(self._tokenizer.cache.items())[:2])
            some = [_beginning(caption, limit) for caption in captions]
            return self._tokenizer(some, context_length=context)


def _beginning(caption: str, limit: int) -> str:
    """The part of a caption that can matter: the tokenizer's cost grows faster than the text."""
    return caption if len(caption) <= limit else " ".join(caption.split())[:limit]
