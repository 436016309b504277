"""Which positions of a stream a rank gets, batch by batch, and the state by which it goes on.

A global batch is a stretch of the stream, and a rank's part of it is a stretch of that. So every
number of ranks gives the same global batches, and the state knows of no rank and no worker.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.stream import Stream


@dataclass(frozen=True)
class State:
    """Where a training is: all that is needed to go on with the next sample.

    Args:
        stream: the stream's digest.
        epoch: counted from 0.
        position: in samples of all ranks, from the start of the epoch.
    """

    stream: str
    epoch: int = 0
    position: int = 0


class Batches:
    """The batches of one rank; to torch a batch sampler.

    Iterating gives the positions of each of the rank's batches from ``state`` to the end of its
    epoch, counted over all epochs. It changes nothing: who trains says by ``after`` how far it is,
    as loaders read ahead.

    Args:
        stream: which samples.
        rank: whose batches, counted from 0; by default that of ``torch.distributed``, 0 without.
        world_size: how many ranks there are, likewise.
        drop_last: whether to leave out what is left of an epoch after its whole batches, as
            trainings of several ranks must that wait for each other at every step. Without it the
            last batch is smaller, and some ranks may have none of it.

    Raises:
        ConfigurationError: no such rank, or more ranks than samples in a batch.
    """

    def __init__(
        self,
        stream: Stream,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        drop_last: bool = False,
    ) -> None:
        own_rank, ranks = distributed()
        rank = own_rank if rank is None else rank
        world_size = ranks if world_size is None else world_size
        if not 0 <= rank < world_size <= stream.batch_size:
            raise ConfigurationError(
                "rank",
                f"{rank} of {world_size}, for batches of {stream.batch_size}",
                "a rank from 0 on, and a sample for each of them in every batch",
                "batch_size is that of all ranks together.",
            )
        self._stream = stream
        self._rank, self._ranks = rank, world_size
        self._drop_last = drop_last
        self.state = State(stream.digest)

    def of(self, stream: Stream) -> "Batches":
        """The same rank's of another stream, at the same epoch's start."""
        other = Batches(stream, self._rank, self._ranks, drop_last=self._drop_last)
        other.state = State(stream.digest, self.state.epoch)
        return other

    def __len__(self) -> int:
        """Batches from the state to the end of its epoch."""
        left, size = len(self._stream) - self.state.position, self._stream.batch_size
        return left // size if self._drop_last else -(-left // size)

    def __iter__(self) -> Iterator[range]:
        """The rank's positions in each batch, from the state as it is now."""
        return self._dealt(self.state, len(self))

    def _dealt(self, state: State, batches: int) -> Iterator[range]:
        first, size = state.epoch * len(self._stream), self._stream.batch_size
        for number in range(batches):
            start = state.position + number * size
            count = min(size, len(self._stream) - start)
            low, high = (count * rank // self._ranks for rank in (self._rank, self._rank + 1))
            yield range(first + start + low, first + start + high)

    def after(self, batches: int) -> State:
        """The state when so many of the coming batches are done."""
        if batches >= len(self):
            return State(self.state.stream, self.state.epoch + 1)
        position = self.state.position + batches * self._stream.batch_size
        return State(self.state.stream, self.state.epoch, position)

    def state_dict(self) -> dict[str, Any]:
        """The state, for a checkpoint: less than 1 KB of json."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of any rank, with any number of ranks.

        Raises:
            ConfigurationError: it is of another stream, or of no place in it.
        """
        if state.keys() != asdict(self.state).keys() or state["stream"] != self._stream.digest:
            raise ConfigurationError(
                "state",
                f"that of stream {state.get('stream')!r}",
                f"that of {self._stream.digest!r}: these samples, this seed and these shares",
                "Open the samples with which it was saved, or start anew.",
            )
        read = State(**state)
        if not (read.epoch >= 0 and 0 <= read.position < len(self._stream)):
            raise ConfigurationError(
                "state",
                f"epoch {read.epoch}, position {read.position}",
                f"a position below {len(self._stream):,}",
                "Take the state as it was saved.",
            )
        self.state = read


def distributed() -> tuple[int, int]:
    """The rank of this process, and how many there are."""
    torchs: Any = sys.modules.get("torch.distributed")
    if torchs and torchs.is_available() and torchs.is_initialized():
        return torchs.get_rank(), torchs.get_world_size()
    return 0, 1
