"""Batches, read ahead by threads or by torch's worker processes, and where the training is.

Which samples a batch has is said by ``dealing``, what is made of them by ``decoded``.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from clip_assets.errors import ClipAssetsError, ConfigurationError, at_least
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.decoded import Decoded, Item, TrainingBatch
from clip_assets.streaming.stream import Stream

if TYPE_CHECKING:
    from torch import Tensor

    Begun = tuple[list[Future[list[Item]]], Tensor | None]
    # Pieces of a batch that are under way, and where their pixels are put.

AHEAD = 2
"""Batches that are read before they are asked for, for each worker."""

PIECES = 2
"""Of a batch, for each thread."""


class Loader:
    """The batches of one rank.

    Iterating gives the batches from where the training is to the end of its epoch; iterating again
    gives the next epoch, or the rest of this one if it was left before its end.

    Args:
        decoded: which samples, and what is made of them; a stream for ``Decoded(stream)``.
        batches: which of them the rank gets, by default ``Batches(stream)``.
        threads: that decode, by default one for each core that this process may use.
        workers: processes instead of threads; 0 for none.
        pin: whether batches are put where an accelerator can fetch them by itself; without one
            that torch knows they are as without it.

    Raises:
        ConfigurationError: less than no threads or workers.
    """

    def __init__(
        self,
        decoded: Decoded | Stream,
        batches: Batches | None = None,
        *,
        threads: int | None = None,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        at_least("threads", threads or 0, 0)
        at_least("workers", workers, 0)
        self._decoded = decoded if isinstance(decoded, Decoded) else Decoded(decoded)
        self._batches = batches or Batches(self._decoded.stream)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._workers = workers
        self._pin = pin

    def __len__(self) -> int:
        """Batches to the end of the epoch."""
        return len(self._batches)

    @property
    def batch_size(self) -> int:
        """Samples of a global batch."""
        return self._decoded.stream.batch_size

    @property
    def epoch(self) -> int:
        """Counted from 0."""
        return self._batches.state.epoch

    def __iter__(self) -> Iterator[TrainingBatch]:
        """The batches to the end of the epoch.

        Raises:
            SourceError: what holds a sample cannot be read.
            DamagedError: what holds a sample is not what it was.
        """
        read = self._by_workers() if self._workers else self._by_threads()
        for batch in read:
            # A batch is done when it is handed out: the state is saved after its step.
            self._batches.state = self._batches.after(1)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the training is, after the last batch that was handed out; less than 1 KB."""
        return self._batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of any rank, with any number of ranks and workers.

        Raises:
            ConfigurationError: it is of another stream.
        """
        self._batches.load_state_dict(state)

    def enter(self, decoded: Decoded | Stream) -> None:
        """Go on with other samples, such as a subset's newer version, from the border of an epoch.

        What is opened stays as it was opened, so an epoch is of one version. The number of the
        epoch goes on, and from now on states are of the new samples.

        Args:
            decoded: see ``Loader``.

        Raises:
            ConfigurationError: the training is within an epoch, or the batches are of another size.
        """
        if self._batches.state.position:
            raise ConfigurationError(
                "epoch",
                f"sample {self._batches.state.position:,} of epoch {self.epoch}",
                "its border",
                "Let the epoch end first.",
            )
        entered = decoded if isinstance(decoded, Decoded) else Decoded(decoded)
        self._batches = self._batches.of(entered.stream)
        self._decoded = entered

    def start_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless the training is in it."""
        if epoch != self.epoch:
            state = {"stream": self._batches.state.stream, "epoch": epoch, "position": 0}
            self.load_state_dict(state)

    def _by_workers(self) -> Iterator[TrainingBatch]:
        from torch.utils.data import DataLoader

        told = _Carried(self._decoded)
        loader = DataLoader(
            told,  # pyright: ignore[reportArgumentType] - a data set by what it does
            batch_sampler=self._batches,  # pyright: ignore[reportArgumentType] - of ranges
            collate_fn=told.collate,  # pyright: ignore[reportArgumentType] - of what is made
            num_workers=self._workers,
            prefetch_factor=AHEAD,
            pin_memory=self._pin and has_accelerator(),
        )
        for batch in loader:
            if isinstance(batch, ClipAssetsError):
                raise batch
            yield batch

    def _by_threads(self) -> Iterator[TrainingBatch]:
        dealt = iter(self._batches)
        ahead: deque[Begun] = deque()
        pin = self._pin and has_accelerator()
        room = self._decoded.memory(pin=pin)
        with ThreadPoolExecutor(self._threads, "clip-assets-decode") as threads:

            def begin(positions: range) -> "Begun":
                places = self._decoded.stream.places(positions)
                memory = room and room.take(len(places))
                # A thread that has more to do before it answers waits less for Python's lock.
                size = -(-len(places) // (PIECES * self._threads))
                starts = range(0, len(places), max(1, size))
                told = [(start, places[start : start + size], memory) for start in starts]
                return [threads.submit(self._decoded.piece, *piece) for piece in told], memory

            try:
                ahead.extend(map(begin, islice(dealt, AHEAD)))
                while ahead:
                    pieces, memory = ahead.popleft()
                    items = [item for piece in pieces for item in piece.result()]
                    ahead.extend(map(begin, islice(dealt, 1)))
                    batch = self._decoded.collate(items, memory)
                    yield batch.pin_memory() if pin else batch
            finally:
                threads.shutdown(wait=False, cancel_futures=True)


def has_accelerator() -> bool:
    """Whether torch knows an accelerator of this machine."""
    import torch

    return torch.accelerator.is_available()


class _Carried:
    """Decoded samples whose faults cross to another process as what they are, not as texts."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._room = decoded.memory()

    def __len__(self) -> int:
        return len(self._decoded)

    def __getitem__(self, position: int) -> Item:
        return self._decoded[position]

    def __getitems__(self, positions: Sequence[int]) -> TrainingBatch | ClipAssetsError:
        try:
            places = self._decoded.stream.places(positions)
            memory = self._room and self._room.take(len(places))
            return self._decoded.collate(self._decoded.piece(0, places, memory), memory)
        except ClipAssetsError as error:
            return error

    @staticmethod
    def collate(made: TrainingBatch | ClipAssetsError) -> TrainingBatch | ClipAssetsError:
        return made
