"""Which sample comes when: a pure function of seed, epoch and position, for one set or a mixture.

Who gets which positions is said by ``dealing``; where a row lies, by the sets of samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.permutation import Permutation, Rows
from clip_assets.streaming.shares import Share, Shares


@dataclass(frozen=True)
class Picks:
    """Rows of sets, one for each position that was asked for.

    Args:
        sets: (n,) number of the set.
        rows: (n,) row in its set.
    """

    sets: Rows
    rows: Rows


class Order(Protocol):
    """The order of all samples of every epoch.

    Attributes:
        length: samples of an epoch.
    """

    length: int

    def pick(self, epoch: int, positions: Rows) -> Picks:
        """The samples at some positions of an epoch.

        Args:
            epoch: counted from 0.
            positions: (n,), each less than ``length``.
        """
        ...


class Shuffled:
    """Every row of one set once in an epoch, each epoch in another order.

    Args:
        size: rows of the set.
        seed: of the orders.
        shuffle: False for the rows as they stand.
    """

    def __init__(self, size: int, seed: int, *, shuffle: bool = True) -> None:
        self.length = size
        self._seed = seed
        self._shuffle = shuffle

    def pick(self, epoch: int, positions: Rows) -> Picks:
        """See ``Order``."""
        rows = np.asarray(positions, np.int64)
        if self._shuffle:
            rows = Permutation(self.length, self._seed, "rows", 0, epoch)(rows)
        return Picks(np.zeros(len(rows), np.int64), rows)


def dealt(shares: Shares, seed: int, batch: int, slots: Rows) -> tuple[Rows, Rows]:
    """The set of each slot of a global batch, and which of those that the batch has of the set.

    Slots are shuffled, else one rank would have all of a set.

    Args:
        shares: of the sets.
        seed: of the order.
        batch: its number, over all epochs.
        slots: (n,), each less than the size of the batch.
    """
    shuffled = Permutation(shares.batch_size, seed, "slots", batch)(slots)
    counts = shares.of(batch)
    ends = np.cumsum(counts)
    sets = np.searchsorted(ends, shuffled, side="right")
    return sets, shuffled - (ends - counts)[sets]


class Mixed:
    """Several sets, each with its share of every global batch.

    A set goes through all its rows before one comes again, then through all in another order,
    over the borders of epochs; only within a batch is what comes first left to chance.

    Args:
        sizes: rows of each set.
        shares: of each set, by its name; in the order of ``sizes``.
        batch_size: samples of a global batch.
        seed: of the orders.
        length: samples of an epoch, whole batches; by default as many batches as no set is asked
            for more than its rows.

    Raises:
        ConfigurationError: shares that cannot be met.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        shares: Mapping[str, Share],
        batch_size: int,
        seed: int,
        length: int | None = None,
    ) -> None:
        self._sizes = sizes
        self._shares = Shares(shares, batch_size)
        self._seed = seed
        empty = [name for name, size in zip(shares, sizes, strict=True) if not size]
        if empty:
            raise ConfigurationError(
                f"share of {empty[0]}",
                "no samples",
                "samples to take it from",
                "Leave the set out, or see why it is empty.",
            )
        batches = self._batches() if length is None else length // batch_size
        if not batches:
            raise self._too_few()
        self.length = batches * batch_size

    def pick(self, epoch: int, positions: Rows) -> Picks:
        """See ``Order``."""
        size = self._shares.batch_size
        numbers, slots = np.divmod(np.asarray(positions, np.int64), size)
        numbers += epoch * (self.length // size)
        sets, turns = np.empty_like(slots), np.empty_like(slots)
        for number in np.unique(numbers):
            here = numbers == number
            sets[here], turns[here] = self._deal(int(number), slots[here])
        return Picks(sets, self._rows(sets, turns))

    def _deal(self, batch: int, slots: Rows) -> tuple[Rows, Rows]:
        """The set of each slot of a batch, and which sample of all that the set gives."""
        sets, numbers = dealt(self._shares, self._seed, batch, slots)
        return sets, self._shares.before(batch)[sets] + numbers

    def _rows(self, sets: Rows, turns: Rows) -> Rows:
        rows = np.empty_like(turns)
        for number in np.unique(sets):
            size = self._sizes[number]
            rounds, places = np.divmod(turns, size)
            for time in np.unique(rounds[sets == number]):
                here = (sets == number) & (rounds == time)
                key = (self._seed, "rows", number, time)
                rows[here] = Permutation(size, *key)(places[here])
        return rows

    def _batches(self) -> int:
        """The most batches for which no set has too few rows."""
        sizes: npt.NDArray[np.int64] = np.array(self._sizes, np.int64)
        least, most = 0, sum(self._sizes) // self._shares.batch_size
        while least < most:
            middle = (least + most + 1) // 2
            if (self._shares.before(middle) <= sizes).all():
                least = middle
            else:
                most = middle - 1
        return least

    def _too_few(self) -> ConfigurationError:
        wanted = self._shares.of(0)
        least = int(np.argmax(wanted / np.array(self._sizes)))
        return ConfigurationError(
            f"share of {self._shares.names[least]}",
            f"{self._sizes[least]:,} samples",
            f"the {wanted[least]:,} that one batch of {self._shares.batch_size:,} has of it",
            "Make the batch or the share smaller, or give a length: then samples come again.",
        )
