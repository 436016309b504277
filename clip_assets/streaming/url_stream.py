"""How many samples of which lists of urls a batch has, and who fills which of its slots.

Which list each slot of a batch is of is a function of seed and position, as with stored samples.
What a list has is said by ``listed_urls``, which urls fill the slots by ``url_streaming``.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.dealing import distributed
from clip_assets.streaming.listed_urls import UrlList, kept_rows
from clip_assets.streaming.order import dealt
from clip_assets.streaming.permutation import Rows, mixed
from clip_assets.streaming.shares import Share, Shares

WhenShort = Literal["error", "fewer", "repeat"]
"""What to do when a list ends before an epoch does."""


class UrlStream:
    """How many samples of which lists, and in which slots of which batches.

    Args:
        lists: urls, of different names.
        shares: of each list in every global batch; by default all alike.
        length: samples of an epoch, in whole batches.
        batch_size: samples of a global batch, those of all ranks together.
        seed: of the slots.
        when_short: what to do when a list ends before the epoch does: an ``error``; ``fewer``
            samples, the slot of the list stays empty and is told in ``flaws``; or ``repeat``, the
            list begins again.

    Attributes:
        repeated: how many urls are left out because they stand in a list before.
        digest: another one where another list would be at some position.

    Raises:
        ConfigurationError: arguments that do not go together, or shares that cannot be met.
    """

    def __init__(
        self,
        lists: Sequence[UrlList],
        shares: Sequence[Share] | None = None,
        *,
        length: int,
        batch_size: int = 256,
        seed: int = 0,
        when_short: WhenShort = "error",
    ) -> None:
        self.lists, self.batch_size, self.seed = list(lists), batch_size, seed
        self.when_short: WhenShort = when_short
        names = [one.name for one in lists]
        given = [1] * len(names) if shares is None else list(shares)
        if not names or not (len(set(names)) == len(names) == len(given)) or batch_size < 1:
            raise ConfigurationError(
                "lists",
                f"lists {', '.join(names)}, {len(given)} shares, batches of {batch_size}",
                "lists of different names, a share for each, batches of 1 or more",
                "Give each list a name of its own.",
            )
        if when_short not in get_args(WhenShort):
            raise ConfigurationError("when_short", repr(when_short),
                                     ", ".join(get_args(WhenShort)), "Choose one.")  # fmt: skip
        self.batches = length // batch_size
        if not self.batches:
            raise ConfigurationError("length", f"{length:,}", f"{batch_size:,} or more",
                                     "An epoch has whole batches.")  # fmt: skip
        self.shares = Shares(dict(zip(names, given, strict=True)), batch_size)
        self.rows = kept_rows(lists)
        self.repeated = sum(map(len, lists)) - sum(map(len, self.rows))
        self._check()
        told = [[one.digest for one in lists], list(map(str, given)), self.batches, batch_size]
        told += [seed, when_short]
        self.digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self.batches * self.batch_size

    def lists_of(self, batch: int) -> list[int]:
        """The number of the list that each slot of a global batch is of.

        Args:
            batch: its number, counted over all epochs.
        """
        slots = np.arange(self.batch_size)
        return dealt(self.shares, self.seed, batch, slots)[0].tolist()

    def rows_of(self, number: int, lane: int, lanes: int) -> Rows:
        """The rows of a list that one of several lanes is given, in their order.

        Of as many that follow each other each lane has one; which one differs, as lists may have
        patterns of their own.
        """
        rows = self.rows[number]
        rounds, places = np.divmod(np.arange(len(rows)), lanes)
        turns = mixed(rounds.astype(np.uint64)) % np.uint64(lanes)
        return rows[(places + turns.astype(np.int64)) % lanes == lane]

    def _check(self) -> None:
        wanted = self.shares.before(self.batches).tolist()
        for one, rows, count in zip(self.lists, self.rows, wanted, strict=True):
            if not len(rows) or (self.when_short == "error" and len(rows) < count):
                raise ConfigurationError(
                    f"share of {one.name}",
                    f"{len(rows):,} urls" if len(rows) else "no urls",
                    f"the {count:,} samples that an epoch has of it, and some for dead links",
                    "Ask for more of it, make the share or the length smaller, or say "
                    "when_short='fewer' or 'repeat'; leave out a list that is empty.",
                )


@dataclass(frozen=True)
class Lanes:
    """Which slots of each batch a process fills, and with which urls: its part of each list.

    Args:
        rank: of this process; by default that of ``torch.distributed``, 0 without.
        world_size: how many ranks there are, likewise.
        count: in how many lanes batches and lists are dealt, by default one for each rank. A state
            can be gone on with by up to so many ranks.

    Raises:
        ConfigurationError: no such rank, or fewer lanes than ranks.
    """

    rank: int = field(default_factory=lambda: distributed()[0])
    world_size: int = field(default_factory=lambda: distributed()[1])
    count: int = 0

    def __post_init__(self) -> None:
        """Check them."""
        if not 0 <= self.rank < self.world_size <= self.all:
            raise ConfigurationError(
                "lanes",
                f"rank {self.rank} of {self.world_size}, {self.all} lanes",
                "a rank from 0 on, and a lane for each",
                "count= is how many lanes there are.",
            )

    @property
    def all(self) -> int:
        """How many there are."""
        return self.count or self.world_size

    @property
    def own(self) -> range:
        """Those of this process."""
        low, high = (self.all * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(low, high)

    def slots(self, lane: int, batch_size: int) -> slice:
        """Those of a global batch that a lane fills."""
        low, high = (batch_size * number // self.all for number in (lane, lane + 1))
        return slice(low, high)
