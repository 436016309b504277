"""Batches in which concepts are as frequent as wished, as far as the samples have them.

From each stretch of a shuffled order that is some times longer than a batch, those samples are kept
that bring the batch nearest to the target. A stretch is chosen from by itself, so a batch is a
function of seed and position as it is without balance, and nothing is remembered. (Concept-aware
batch sampling, arXiv 2511.20643; the kind that matches a distribution.)
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.order import Picks
from clip_assets.streaming.permutation import Permutation, Rows

SURPLUS = 5
"""Samples that are looked at for each that is kept."""

KEPT_BATCHES = 16
"""Whose choice is remembered, for workers that ask for a batch in pieces."""

Shares = npt.NDArray[np.float64]


class Balance:
    """What a balanced stream is balanced by.

    Args:
        concepts: of each sample of the set, numbers from 0; none of a sample that has none.
        target: share of each concept among all concepts of a batch; by default all alike.
        surplus: samples that are looked at for each that is kept.

    Raises:
        ConfigurationError: numbers that are none of a concept, or shares that are none.
    """

    def __init__(
        self,
        concepts: Sequence[Sequence[int]],
        target: Sequence[float] | None = None,
        surplus: int = SURPLUS,
    ) -> None:
        counts = np.array([len(own) for own in concepts], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.numbers = np.array([number for own in concepts for number in own], np.int64)
        most = int(self.numbers.max()) + 1 if len(self.numbers) else 0
        wished = np.ones(most) if target is None else np.asarray(target, np.float64)
        if not most or self.numbers.min() < 0 or len(wished) < most:
            raise _wrong(f"concepts up to {most - 1:,} with {len(wished):,} shares")
        if not (np.isfinite(wished).all() and wished.min() >= 0 and wished.sum() > 0):
            raise _wrong("shares that are negative or not finite, or all 0")
        if surplus < 1:
            raise _wrong(f"surplus {surplus}")
        self.target: Shares = wished / wished.sum()
        self.surplus = surplus
        told = [self.starts.tobytes(), self.numbers.tobytes(), self.target.tobytes()]
        self.digest = hashlib.sha256(b"".join([*told, bytes([surplus % 256])])).hexdigest()

    def __len__(self) -> int:
        """Samples whose concepts are known."""
        return len(self.starts) - 1

    def of(self, rows: Rows) -> npt.NDArray[np.float32]:
        """(n, concepts), 1 where a sample has a concept."""
        has = np.zeros((len(rows), len(self.target)), np.float32)
        for place, row in enumerate(rows.tolist()):
            has[place, self.numbers[self.starts[row] : self.starts[row + 1]]] = 1
        return has


class BalancedOrder:
    """One set's samples in balanced batches; see ``Order``.

    An epoch has a batch for every stretch: of the samples, one in ``surplus`` is seen.

    Args:
        size: rows of the set.
        balance: their concepts.
        batch_size: samples of a global batch.
        seed: of the order.

    Raises:
        ConfigurationError: other samples than those whose concepts are known, or too few.
    """

    def __init__(self, size: int, balance: Balance, batch_size: int, seed: int) -> None:
        if len(balance) != size:
            raise _wrong(f"concepts of {len(balance):,} samples, for a set of {size:,}")
        self._stretch = batch_size * balance.surplus
        if size < self._stretch:
            raise _wrong(f"{size:,} samples, {self._stretch:,} for a batch of {batch_size:,}")
        self.length = size // self._stretch * batch_size
        self._size, self._batch, self._seed = size, batch_size, seed
        self._balance = balance
        self._chosen = lru_cache(KEPT_BATCHES)(self._choose)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: without what is remembered."""
        return {name: value for name, value in vars(self).items() if name != "_chosen"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Remember anew."""
        vars(self).update(state)
        self._chosen = lru_cache(KEPT_BATCHES)(self._choose)

    def pick(self, epoch: int, positions: Rows) -> Picks:
        """See ``Order``."""
        numbers, slots = np.divmod(np.asarray(positions, np.int64), self._batch)
        rows = np.empty_like(slots)
        for number in np.unique(numbers):
            here = numbers == number
            rows[here] = self._chosen(epoch, int(number))[slots[here]]
        return Picks(np.zeros(len(rows), np.int64), rows)

    def _choose(self, epoch: int, number: int) -> Rows:
        """The rows of a batch: one after the other, whichever lacks most to the target."""
        first = number * self._stretch
        order = Permutation(self._size, self._seed, "rows", 0, epoch)
        rows = order(np.arange(first, first + self._stretch))
        has = self._balance.of(rows)
        own = np.maximum(has.sum(axis=1), 1)
        # As many of each as the target asks for, if a sample had as many concepts as these have.
        wanted = self._balance.target * self._batch * float(own.mean())
        weight = np.divide(1, wanted, out=np.zeros_like(wanted), where=wanted > 0)
        gains = has @ (wanted > 0).astype(np.float32) / own
        chosen: list[int] = []
        for _ in range(self._batch):
            best = int(np.argmax(gains))
            chosen.append(best)
            gains[best] = -np.inf
            for concept in np.flatnonzero(has[best]).tolist():
                gains -= has[:, concept] * weight[concept] / own
        return rows[sorted(chosen)]


def distribution(balance: Balance, rows: Rows) -> Shares:
    """Which share each concept has among all concepts of some samples, (concepts,)."""
    counts = balance.of(np.asarray(rows, np.int64)).sum(axis=0, dtype=np.float64)
    return counts / max(1.0, counts.sum())


def _wrong(found: str) -> ConfigurationError:
    return ConfigurationError(
        "balance",
        found,
        "concepts from 0 on of every sample, a share of each, and samples for a batch",
        "See docs/streaming.md.",
    )
