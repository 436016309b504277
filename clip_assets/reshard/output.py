"""The shards of an output: each from the plan alone, so that any of them can be made at any time.

What belongs into which is the plan's matter, what a folder may hold before is ``resharding``'s.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from threading import Event
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clip_assets.files.uncached import UncachedFile
from clip_assets.reshard.changes import Changes
from clip_assets.reshard.plan import CopyPlan
from clip_assets.reshard.renaming import renamed
from clip_assets.reshard.sources import Sources
from clip_assets.reshard.stretches import (
    LARGE,
    copy_sample,
    members_of,
    write_members,
    write_sample,
)
from clip_assets.reshard.subset_file import WantedUids
from clip_assets.storage import uids
from clip_assets.webdataset.write import end_tar

logger = logging.getLogger(__name__)

SHARD_SIZE = 10_000
"""Samples of an output shard, by default; DataComp's."""

WORKERS = 2 * len(os.sched_getaffinity(0))
"""Threads that write shards: for each core one may wait for the disk while another copies."""

BATCH_BYTES = 4 << 20
"""Bytes of samples that a thread reads before it writes them."""

BATCH_SAMPLES = 512
"""Requests to a server at once."""


class _Stopped(Exception):  # noqa: N818  (never seen outside)
    """Another shard failed, or somebody wants an end."""


def shards(samples: int, size: int) -> Sequence[range]:
    """Which samples are in each output shard."""
    return [range(start, min(start + size, samples)) for start in range(0, samples, size)]


class ShardOutput(Protocol):
    """Where shards are written."""

    @property
    def is_read_again(self) -> bool:
        """Whether a tar is read when it is published, for an upload or a digest."""
        ...

    def whole(self) -> set[int]:
        """Numbers of the shards that are there already and are left as they are."""
        ...

    def publish_tar(self, number: int) -> AbstractContextManager[Path]:
        """A place for a shard's tar, published when the block ends well."""
        ...

    def publish_stats(self, number: int, samples: int) -> None:
        """Publish the number of its samples, by which it counts as whole."""
        ...


def write_shards(
    output: ShardOutput,
    plan: CopyPlan,
    wanted: WantedUids,
    shard_size: int,
    workers: int,
    changes: Changes | None = None,
) -> int:
    """Write the shards that are not there yet.

    Args:
        output: where.
        plan: what is in them.
        wanted: the uids that the plan's places mean.
        shard_size: samples of a shard.
        workers: shards that are written side by side.
        changes: of samples; None copies them as they are.

    Returns:
        How many there were.

    Raises:
        SourceError, SourceChangedError, SchemaError, StorageFullError: of the first that fails.
    """
    every = shards(len(plan), shard_size)
    there = output.whole()
    missing = [number for number in range(len(every)) if number not in there]
    stop = Event()
    kept = len(every) - len(missing)
    done = count(kept + 1)

    def write(number: int) -> None:
        if stop.is_set():
            return
        with (
            output.publish_tar(number) as part,
            UncachedFile(part, is_cached=output.is_read_again) as file,
        ):
            _write_tar(file, plan, wanted, every[number], stop, changes)
        output.publish_stats(number, len(every[number]))
        logger.info("%s of %s shards are written", f"{next(done):,}", f"{len(every):,}")

    executor = ThreadPoolExecutor(workers, thread_name_prefix="clip-assets-reshard")
    futures = [executor.submit(write, number) for number in missing]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        # Also at Ctrl-C: a shard that is begun is given up at its next batch.
        stop.set()
        executor.shutdown(cancel_futures=True)
    errors = [future.exception() for future in futures if not future.cancelled()]
    for error in sorted(filter(None, errors), key=lambda error: isinstance(error, _Stopped)):
        raise error
    return kept


def _write_tar(
    file: UncachedFile,
    plan: CopyPlan,
    wanted: WantedUids,
    samples: range,
    stop: Event,
    changes: Changes | None,
) -> None:
    with Sources() as sources:
        for batch in _batches(plan, samples):
            if stop.is_set():
                raise _Stopped
            keys = _keys(plan, wanted, batch)
            if changes is not None:
                _write_changed(file, keys, plan, batch, sources, changes)
            elif plan.sizes[batch.start] > LARGE:
                copy_sample(file, keys[0].decode(), plan.stretch(batch.start), sources)
            else:
                _write_batch(file, keys, plan, batch, sources)
        end_tar(file)


def _keys(plan: CopyPlan, wanted: WantedUids, batch: range) -> npt.NDArray[np.bytes_]:
    """Keys of samples in the output."""
    some = slice(batch.start, batch.stop)
    copies = np.char.add(b"-", plan.copy[some].astype(np.bytes_))
    return np.char.add(uids.digits(wanted.chosen(plan.place[some])), copies)


def _write_batch(
    file: UncachedFile,
    keys: npt.NDArray[np.bytes_],
    plan: CopyPlan,
    batch: range,
    sources: Sources,
) -> None:
    """Append samples as they are, with other keys, those of plain form together."""
    sizes = plan.sizes[batch.start : batch.stop]
    total = int(sizes.sum())
    content = sources.read(plan.runs(batch), file.room(total))
    is_renamed = renamed(np.frombuffer(content, np.uint8), sizes, keys)
    if is_renamed.all():
        file.fill(total)
        return
    content = memoryview(bytes(content))
    ends = np.cumsum(sizes)
    written = 0
    for number in np.flatnonzero(~is_renamed).tolist():
        end = int(ends[number])
        start = end - int(sizes[number])
        file.write(content[written:start])
        stretch = plan.stretch(batch.start + number)
        write_sample(file, bytes(keys[number]).decode(), stretch, content[start:end])
        written = end
    file.write(content[written:])


def _write_changed(
    file: UncachedFile,
    keys: npt.NDArray[np.bytes_],
    plan: CopyPlan,
    batch: range,
    sources: Sources,
    changes: Changes,
) -> None:
    """Append samples with changed members."""
    content = sources.read(plan.runs(batch))
    start = 0
    for key, sample in zip(keys.tolist(), batch, strict=True):
        stretch, place = plan.stretch(sample), int(plan.place[sample])
        end = start + stretch.stop - stretch.start
        view, start = content[start:end], end
        members = {
            member.extension: bytes(view[member.start : member.start + member.size])
            for member in members_of(view, stretch.file.uri)
        }
        changed = changes.of(place, members, stretch.file.uri)
        write_members(file, key.decode(), stretch, changed)


def _batches(plan: CopyPlan, samples: range) -> Iterator[range]:
    """Samples that are read at once: a few megabytes, or a single large one."""
    start, waiting, was_large = samples.start, 0, False
    sizes = plan.sizes[samples.start : samples.stop].tolist()
    for sample, size in zip(samples, sizes, strict=True):
        is_full = waiting + size > BATCH_BYTES or sample - start >= BATCH_SAMPLES
        if sample > start and (is_full or was_large or size > LARGE):
            yield range(start, sample)
            start, waiting = sample, 0
        waiting, was_large = waiting + size, size > LARGE
    if start < samples.stop:
        yield range(start, samples.stop)
