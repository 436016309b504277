"""Samples in the order of training: sample i is a pure function of the seed and of i.

A ``Stream`` is what torch calls a map-style data set, so that any ``DataLoader`` reads it with any
number of workers. Which positions come next is said by ``dealing``.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Self

import numpy as np

from clip_assets.errors import ConfigurationError
from clip_assets.inference.samples import Sample
from clip_assets.streaming.even_batches import Balance, BalancedOrder
from clip_assets.streaming.order import Mixed, Order, Shuffled
from clip_assets.streaming.shares import Share
from clip_assets.streaming.tar_samples import SampleSet


class Stream:
    """Samples of one set, or of several with a share each, epoch after epoch.

    Args:
        samples: a set, such as ``PoolSamples`` or ``TarSamples``, or several.
        seed: of the order.
        batch_size: samples of a global batch, those of all ranks together.
        shares: of each of several sets in every global batch; by default their sizes.
        length: samples of an epoch of several sets, as a rule with samples that come again; by
            default as many batches as no set is asked for more than it has.
        shuffle: False for one set in its own order.

    Attributes:
        sets: the samples.
        batch_size: samples of a global batch.
        digest: another one where another sample would be at some position.

    Raises:
        ConfigurationError: arguments that do not go together, no samples, or shares that cannot
            be met.
    """

    def __init__(
        self,
        samples: SampleSet | Sequence[SampleSet],
        *,
        seed: int = 0,
        batch_size: int = 256,
        shares: Sequence[Share] | None = None,
        length: int | None = None,
        shuffle: bool = True,
    ) -> None:
        self.sets = list(samples) if isinstance(samples, Sequence) else [samples]
        if isinstance(samples, str) or not all(hasattr(one, "read") for one in self.sets):
            raise ConfigurationError(
                "samples",
                repr(samples),
                "a set of samples, or several",
                "Write PoolSamples(...) or TarSamples(...).",
            )
        self.batch_size = batch_size
        if batch_size < 1:
            raise ConfigurationError("batch_size", str(batch_size), "1 or more", "Choose one.")
        self._order: Order = self._ordered(seed, shares, length, shuffle=shuffle)
        told = [[one.digest for one in self.sets], seed, shuffle]
        if len(self.sets) > 1:
            told += [list(map(str, shares or map(len, self.sets))), batch_size, len(self)]
        self.digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    @classmethod
    def balanced(
        cls, samples: SampleSet, balance: Balance, *, seed: int = 0, batch_size: int = 256
    ) -> Self:
        """Samples of one set in batches that have its concepts in the shares that are wished.

        An epoch sees one in ``balance.surplus`` of the samples.

        Args:
            samples: a set.
            balance: the concepts of its samples, in their order.
            seed: see ``Stream``.
            batch_size: likewise.

        Raises:
            ConfigurationError: concepts of other samples, or too few samples.
        """
        stream = cls(samples, seed=seed, batch_size=batch_size)
        stream._order = BalancedOrder(len(samples), balance, batch_size, seed)
        told = f"{stream.digest} {balance.digest} {batch_size}"
        stream.digest = hashlib.sha256(told.encode()).hexdigest()[:32]
        return stream

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self._order.length

    def read(self, position: int) -> Sample:
        """The sample at a position, counted over all epochs.

        Raises:
            SourceError: what holds it cannot be read.
            DamagedError: what holds it is not what it was.
        """
        return self.read_many([position])[0]

    def read_many(self, positions: Sequence[int]) -> list[Sample]:
        """The samples at some positions, in their order."""
        return [self.sets[number].read(row) for number, row in self.places(positions)]

    def places(self, positions: Sequence[int]) -> list[tuple[int, int]]:
        """The set, and the row in it, of each position, counted over all epochs."""
        places = np.empty((len(positions), 2), np.int64)
        epochs, within = np.divmod(np.array(positions, np.int64), len(self))
        for epoch in np.unique(epochs):
            picks = self._order.pick(int(epoch), within[here := epochs == epoch])
            places[here] = np.stack([picks.sets, picks.rows], axis=1)
        return [(number, row) for number, row in places.tolist()]

    def _ordered(
        self, seed: int, shares: Sequence[Share] | None, length: int | None, *, shuffle: bool
    ) -> Order:
        sizes = list(map(len, self.sets))
        if not sizes:
            raise ConfigurationError("samples", "no set", "one or more", "Name one.")
        if len(sizes) == 1:
            if not sizes[0]:
                name = self.sets[0].name
                raise ConfigurationError(name, "no samples", "some", "See why it is empty.")
            return Shuffled(sizes[0], seed, shuffle=shuffle)
        names = [one.name for one in self.sets]
        given = sizes if shares is None else shares
        if not (len(set(names)) == len(names) == len(given)) or not shuffle:
            raise ConfigurationError(
                "samples",
                f"sets {', '.join(names)}, and {len(given)} shares",
                "sets of different names, a share for each, shuffled",
                "Give each set a name=.",
            )
        by_name = dict(zip(names, given, strict=True))
        return Mixed(sizes, by_name, self.batch_size, seed, length)
