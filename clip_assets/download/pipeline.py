"""Shards through the fetcher and the resizer, a few at a time.

Every worker takes one url from fetch to row, so a slow resizer or disk slows fetching down by
itself. The next shard is begun before the last one is complete: a straggler costs only the
worker that waits for it. Fetching is one thread, resizing is one for each core; machines with
many cores work on several partitions at once, in processes that share nothing.

Memory: ``OPEN_SHARDS`` shards of rows, and files and images in flight within the bound
that the settings give, whose parts ``fetch.room`` and ``decoding_room`` give out.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from clip_assets.download import embedded
from clip_assets.download.allocator import large_blocks_given_back
from clip_assets.download.fetch.fetcher import Fetcher, open_fetcher
from clip_assets.download.fetch.jobs import Fetched
from clip_assets.download.resize import ImageResizer, Resized
from clip_assets.download.shard import Row, Shard
from clip_assets.errors import DownloadError
from clip_assets.settings import DownloadSettings

OPEN_SHARDS = 3
"""Shards in progress at once."""

_Token = tuple[Shard, int]


def download(
    shards: Iterable[Shard],
    settings: DownloadSettings,
    publish: Callable[[Shard], None],
    *,
    judges_few: bool = True,
    stopped: Callable[[datetime], object] | None = None,
) -> None:
    """Fetch and resize every pair of the shards and publish each shard when it is complete.

    Args:
        shards: made when their turn comes.
        settings: limits and manners.
        publish: called with a complete shard, in a thread, one at a time, in any order.
        judges_few: whether a few silent hosts can be this machine's fault, see
            ``fetch.outage.NetworkWatch``.
        stopped: told when a server answered last, if then this machine's network stops the
            download: what failed since in shards that are published says nothing.

    Raises:
        DownloadError: the network of this machine is at fault.
    """
    pipeline = _Pipeline(settings, publish)
    try:
        with large_blocks_given_back():
            asyncio.run(pipeline.run(shards, judges_few=judges_few))
    except ExceptionGroup as group:
        if pipeline.doubted_since is not None and stopped is not None:
            stopped(pipeline.doubted_since)
        raise group.exceptions[0] from None


class _Pipeline:
    def __init__(self, settings: DownloadSettings, publish: Callable[[Shard], None]) -> None:
        self._settings = settings
        self._publish = publish
        self._places = asyncio.Semaphore(OPEN_SHARDS)
        self._open: set[Shard] = set()
        self._publishing = asyncio.Lock()
        self._resize = ImageResizer(settings)
        self.doubted_since: datetime | None = None

    async def run(self, shards: Iterable[Shard], *, judges_few: bool) -> None:
        threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "clip-assets-resize")
        try:
            async with _open(self._settings, judges_few=judges_few) as fetcher:
                try:
                    await self._run(fetcher, threads, shards)
                except* DownloadError:
                    self.doubted_since = fetcher.last_answer
                    for shard in self._open:
                        shard.doubt(fetcher.last_answer)
                    raise
        finally:
            threads.shutdown()
            for shard in self._open:
                shard.close()

    async def _run(
        self, fetcher: Fetcher[_Token], threads: ThreadPoolExecutor, shards: Iterable[Shard]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._work(fetcher, threads))
                for _ in range(self._settings.requests_at_once)
            ]
            await self._submit(fetcher, shards)
            for _ in range(OPEN_SHARDS):
                await self._places.acquire()
            for worker in workers:
                worker.cancel()

    async def _submit(self, fetcher: Fetcher[_Token], shards: Iterable[Shard]) -> None:
        """Begin every shard when there is a place for it."""
        waiting = iter(shards)
        while True:
            await self._places.acquire()
            shard = await _next(waiting)
            if shard is None:
                self._places.release()
                return
            self._open.add(shard)
            for position in shard.open_positions:
                url = shard.pairs[position]["url"]
                fetcher.submit((shard, position), url, was_silent=shard.was_silent(position))
            if shard.is_complete:  # a killed run had all of its results
                await self._finish(shard)

    async def _work(self, fetcher: Fetcher[_Token], threads: ThreadPoolExecutor) -> None:
        while True:
            shard = await self._result(fetcher, threads)
            if shard.is_complete:
                await self._finish(shard)

    async def _result(self, fetcher: Fetcher[_Token], threads: ThreadPoolExecutor) -> Shard:
        """The next url to its row; who waits for the one after it must not hold on to its body."""
        (shard, position), fetched = await fetcher.next()
        pair = shard.pairs[position]
        resized = None
        if fetched.body is not None:
            loop = asyncio.get_running_loop()
            resized = await loop.run_in_executor(threads, self._image, fetched, pair)
        shard.put(position, fetched, resized)
        fetcher.release(fetched)
        return shard

    def _image(self, fetched: Fetched, pair: Row) -> Resized:
        """What a file becomes, unless what it says of its own use refuses it."""
        assert fetched.body is not None
        embedded.read(fetched.body, fetched.signals)
        if refusal := fetched.signals.refusal(self._settings):
            return Resized({}, None, *refusal)
        return self._resize(fetched.body, pair)

    async def _finish(self, shard: Shard) -> None:
        async with self._publishing:
            await asyncio.to_thread(self._publish, shard)
        shard.close()
        self._open.remove(shard)
        self._places.release()


async def _next(waiting: Iterator[Shard]) -> Shard | None:
    """The next shard; one that is begun while this is cancelled is closed."""
    begun = asyncio.ensure_future(asyncio.to_thread(next, waiting, None))
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        if (shard := await begun) is not None:
            shard.close()
        raise


def _open(
    settings: DownloadSettings, *, judges_few: bool
) -> AbstractAsyncContextManager[Fetcher[_Token]]:
    return open_fetcher(settings, judges_few=judges_few)
