"""A data set that is downloaded while it trains: so many samples of each list of urls.

Which list each slot is of says ``url_stream``; which urls of the list fill it says the web: the
first ones that give an image. How far ahead is fetched is the matter of ``url_window``.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clip_assets.errors import ConfigurationError, at_least
from clip_assets.settings import DownloadSettings
from clip_assets.streaming import said_scores
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.decoded import Decode, Flaw, Item, TrainingBatch, collated
from clip_assets.streaming.url_cache import UrlCache
from clip_assets.streaming.url_course import Course, Cursor
from clip_assets.streaming.url_stream import Lanes, UrlStream
from clip_assets.streaming.url_window import UrlFetching, UrlWindow

if TYPE_CHECKING:
    from clip_assets.streaming.url_iterable import UrlIterable

LIST_ENDED = "list ended"
"""Flaw of a slot that stays empty; its key is the list's name."""

PER_REQUEST = 4
"""Urls under way or decoded for each request at once: one slow host is not all that waits."""

LEAST_AHEAD = 16
"""Of each list, so that what is set aside had its time."""


class UrlStreamingDataset:
    """The batches of one rank, downloaded and decoded while they are asked for.

    Iterating gives the batches from where the training is to the end of its epoch; iterating again
    gives the next epoch, or the rest of this one if it was left before its end. Every epoch begins
    at the top of the lists. Who takes slowly slows the requests.

    Args:
        stream: so many samples of which lists.
        settings: limits and manners of the fetcher, by default those of a new pool.
        cache: where files are kept, by default nowhere; ranks may share a folder.
        decode: what is made of an image file, by default ``CenterCrop``.
        scores: fields that lists or answers say, to be numbers of a batch.
        lanes: which slots this process fills, by default its rank's.

    Attributes:
        counts: of each list since the iteration began: urls ``asked`` for, ``cached`` ones, and
            what was in vain by reason.

    Raises:
        ConfigurationError: neither lists nor answers say one of the scores.
    """

    def __init__(
        self,
        stream: UrlStream,
        settings: DownloadSettings | None = None,
        cache: UrlCache | None = None,
        *,
        decode: Decode | None = None,
        scores: Sequence[str] = (),
        lanes: Lanes | None = None,
    ) -> None:
        self.stream = stream
        self._settings = settings or DownloadSettings()
        self._cache = cache
        self._decode = decode or CenterCrop()
        said_scores.check(scores, said_scores.urls_of(stream.lists))
        self._scores = tuple(scores)
        self._lanes = lanes or Lanes()
        self._epoch, self._batch = 0, 0
        # By lane: how far its part of each list is.
        self._cursors: dict[int, list[Cursor]] = {}
        self.counts: dict[str, Counter[str]] = {}

    def __len__(self) -> int:
        """Batches to the end of the epoch."""
        return self.stream.batches - self._batch

    @property
    def batch_size(self) -> int:
        """Samples of a global batch."""
        return self.stream.batch_size

    @property
    def epoch(self) -> int:
        """Counted from 0."""
        return self._epoch

    def __iter__(self) -> Iterator[TrainingBatch]:
        """The batches to the end of the epoch.

        Raises:
            ConfigurationError: a list is at its end, and ``when_short`` is ``error``.
            DownloadError: the network of this machine is at fault.
        """
        return self.turns(0, 1)

    def turns(self, worker: int, workers: int) -> Iterator[TrainingBatch]:
        """Of several workers of a rank, the batches that one makes: every n-th.

        Args:
            worker: which, from 0.
            workers: how many. More than one have no state together: they begin at an epoch's start.

        Raises:
            ConfigurationError: several workers within an epoch; and see ``__iter__``.
        """
        at_least("workers", workers, 1)
        if workers > 1 and self._batch:
            raise ConfigurationError(
                "workers",
                f"{workers} of them at batch {self._batch:,} of an epoch",
                "the start of an epoch",
                "Only without worker processes a training goes on within an epoch.",
            )
        courses = self._courses(worker, workers)
        window = UrlWindow(list(courses.values()), self._fetching(worker, workers))
        self.counts = window.counts
        try:
            for number in range(self._batch + worker, self.stream.batches, workers):
                batch = self._made(number, courses, window)
                if workers == 1:
                    # A batch is done when it is handed out: the state is saved after its step.
                    self._go_on(number + 1, courses)
                yield batch
            if workers > 1:
                self.start_epoch(self._epoch + 1)
        finally:
            window.close()

    def start_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless the training is in it."""
        if epoch != self._epoch:
            self._epoch, self._batch, self._cursors = epoch, 0, {}

    def for_torch(self) -> "UrlIterable":
        """The same as torch's iterable data set, for ``DataLoader(..., batch_size=None)``."""
        from clip_assets.streaming.url_iterable import UrlIterable

        return UrlIterable(self)

    def state_dict(self) -> dict[str, Any]:
        """Where the training is, after the last batch that was handed out: of this rank's lanes."""
        return {
            "stream": self._digest,
            "epoch": self._epoch,
            "batch": self._batch,
            "cursors": {str(lane): places for lane, places in self._cursors.items()},
        }

    def load_state_dict(self, state: dict[str, Any], *others: dict[str, Any]) -> None:
        """Go on from a state: nothing that was handed out is handed out again in its epoch.

        Args:
            state: of this rank.
            others: those of the other ranks, needed where there are not as many ranks as then.

        Raises:
            ConfigurationError: they are of another stream or of other steps, or one is lacking.
        """
        states = [state, *others]
        told = {(one.get("stream"), one.get("epoch"), one.get("batch")) for one in states}
        cursors = {int(lane): one for each in states for lane, one in each["cursors"].items()}
        lacking = [lane for lane in self._lanes.own if lane not in cursors]
        (stream, epoch, batch), *rest = sorted(told, key=str)
        if rest or stream != self._digest or (batch and lacking):
            raise ConfigurationError(
                "state",
                f"{len(told)} states of lanes {sorted(cursors)} of stream {stream!r}",
                f"one step of stream {self._digest!r}, of lanes {list(self._lanes.own)}",
                "Open the lists with which it was saved, with as many lanes, and give the states "
                "of all ranks.",
            )
        self._epoch, self._batch = int(epoch or 0), int(batch or 0)
        self._cursors = {lane: cursors[lane] for lane in self._lanes.own if lane in cursors}

    @property
    def _digest(self) -> str:
        return f"{self.stream.digest} {self._lanes.all}"

    def _courses(self, worker: int, workers: int) -> dict[tuple[int, int], Course]:
        """What this process takes from, by lane and list."""
        stream, own = self.stream, self._lanes.own
        counts = stream.shares.before(stream.batches) / len(stream)
        ahead = PER_REQUEST * self._settings.requests_at_once / len(own)
        lanes = self._lanes.all * workers
        return {
            (lane, number): Course(
                stream.lists[number],
                stream.rows_of(number, lane * workers + worker, lanes),
                max(LEAST_AHEAD, round(ahead * counts[number])),
                stream.when_short == "repeat",
                self._cursors.get(lane, [[0]] * len(stream.lists))[number],
            )
            for lane in own
            for number in range(len(stream.lists))
        }

    def _fetching(self, worker: int, workers: int) -> UrlFetching:
        cache = self._cache
        processes = self._lanes.world_size * workers
        if cache is not None and processes > 1:
            cache = cache.of_process(self._lanes.rank * workers + worker, processes)
        threads = len(os.sched_getaffinity(0))
        return UrlFetching(self._settings, self._decode, cache, threads)

    def _made(
        self, number: int, courses: dict[tuple[int, int], Course], window: UrlWindow
    ) -> TrainingBatch:
        stream, items = self.stream, list[Item]()
        empty: list[Flaw] = []
        lists = stream.lists_of(self._epoch * stream.batches + number)
        for lane in self._lanes.own:
            for one in lists[self._lanes.slots(lane, stream.batch_size)]:
                item = window.take(courses[lane, one])
                if item is not None:
                    items.append(item)
                elif stream.when_short == "fewer":
                    empty.append(Flaw(stream.lists[one].name, LIST_ENDED))
                else:
                    raise self._short(courses[lane, one], one)
        batch = collated(items, self._decode, self._scores)
        batch.flaws.extend([*window.flaws(), *empty])
        return batch

    def _short(self, course: Course, number: int) -> ConfigurationError:
        reasons = Counter(self.counts[course.urls.name])
        faults = ", ".join(
            f"{reason} {count:,}"
            for reason, count in reasons.most_common()
            if reason not in ("asked", "cached")
        )
        wanted = int(self.stream.shares.before(self.stream.batches)[number])
        return ConfigurationError(
            f"share of {course.urls.name}",
            f"the end of its list: of {len(course.rows):,} urls {course.taken:,} gave a sample "
            f"({faults or 'none was in vain'})",
            f"{wanted:,} samples in an epoch of all ranks",
            "Ask for more of it, make the share or the length smaller, or say when_short='fewer' "
            "or 'repeat'.",
        )

    def _go_on(self, batch: int, courses: dict[tuple[int, int], Course]) -> None:
        if batch < self.stream.batches:
            self._batch = batch
            lists = range(len(self.stream.lists))
            self._cursors = {
                lane: [courses[lane, number].cursor for number in lists] for lane in self._lanes.own
            }
        else:
            self.start_epoch(self._epoch + 1)
