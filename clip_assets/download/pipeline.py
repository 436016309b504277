"""Shards through the fetcher and the resizer, a few at a time.

Every worker takes one url from fetch to row, so a slow resizer or disk slows fetching down by
itself. The next shard is begun before the last one is complete: a straggler costs only the
worker that waits for it. Fetching is one thread, resizing is one for each core; machines with
many cores work on several partitions at once, in processes that share nothing.

Memory: ``OPEN_SHARDS`` shards of rows, and one body and one image for each of
``requests_at_once`` workers, see ``fetch`` and ``resize``.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

from clip_assets.download.faults import LOCAL
from clip_assets.download.fetch import Fetched, Fetcher, open_fetcher
from clip_assets.download.quiet import quiet_decoders
from clip_assets.download.resize import ImageResizer
from clip_assets.download.samples import Shard
from clip_assets.download.urls import host_of
from clip_assets.errors import DownloadError
from clip_assets.settings import Download

OPEN_SHARDS = 3
"""Shards in progress at once."""

UNANSWERED_LIMIT = 200
"""So many urls in a row without an answer from any server are this machine's fault."""

UNANSWERED_HOSTS = 20
"""Hosts that these urls must be spread over."""

ADVICE = {
    "dns": "No host name resolves: check /etc/resolv.conf, for example with getent hosts.",
    "dns_unanswered": "The resolver does not answer: check /etc/resolv.conf and the load on it; "
    "a local caching resolver takes thousands of names a second.",
    "refused": "Every connection is refused: check the firewall, and whether the network is only "
    "reachable through a proxy, which is not used.",
    "unreachable": "No route to any host: check that this machine is online.",
    "timeout": "Nothing answers in time: check the firewall and the bandwidth, or lower "
    "download.concurrency.",
    "tls": "No certificate is accepted: check the clock and the installed certificate "
    "authorities (ca-certificates), and whether a proxy replaces certificates.",
}
"""What to do about each local fault."""

_Token = tuple[Shard, int]


def download(shards: Iterable[Shard], settings: Download, publish: Callable[[Shard], None]) -> None:
    """Fetch and resize every pair of the shards and publish each shard when it is complete.

    Args:
        shards: made when their turn comes.
        settings: limits and manners.
        publish: called with a complete shard, in a thread, one at a time, in any order.

    Raises:
        DownloadError: the network of this machine is at fault.
    """
    try:
        with quiet_decoders:
            asyncio.run(_Pipeline(settings, publish).run(shards))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


class _Pipeline:
    def __init__(self, settings: Download, publish: Callable[[Shard], None]) -> None:
        self._settings = settings
        self._publish = publish
        self._places = asyncio.Semaphore(OPEN_SHARDS)
        self._open: set[Shard] = set()
        self._publishing = asyncio.Lock()
        self._watch = _NetworkWatch()
        self._resize = ImageResizer(settings)

    async def run(self, shards: Iterable[Shard]) -> None:
        threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "clip-assets-resize")
        try:
            async with _open(self._settings) as fetcher, asyncio.TaskGroup() as group:
                workers = [
                    group.create_task(self._work(fetcher, threads))
                    for _ in range(self._settings.requests_at_once)
                ]
                await self._submit(fetcher, shards)
                for _ in range(OPEN_SHARDS):
                    await self._places.acquire()
                for worker in workers:
                    worker.cancel()
        finally:
            threads.shutdown()
            for shard in self._open:
                shard.close()

    async def _submit(self, fetcher: Fetcher[_Token], shards: Iterable[Shard]) -> None:
        """Begin every shard when there is a place for it."""
        waiting = iter(shards)
        while True:
            await self._places.acquire()
            shard = await asyncio.to_thread(next, waiting, None)
            if shard is None:
                self._places.release()
                return
            self._open.add(shard)
            for position in shard.open_positions:
                fetcher.submit((shard, position), shard.pairs[position]["url"])

    async def _work(self, fetcher: Fetcher[_Token], threads: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            (shard, position), fetched = await fetcher.next()
            pair = shard.pairs[position]
            self._watch.see(pair["url"], fetched)
            resized = None
            if fetched.body is not None:
                resized = await loop.run_in_executor(threads, self._resize, fetched.body, pair)
            shard.put(position, fetched, resized)
            if shard.is_complete:
                async with self._publishing:
                    await asyncio.to_thread(self._publish, shard)
                self._close(shard)

    def _close(self, shard: Shard) -> None:
        shard.close()
        self._open.remove(shard)
        self._places.release()


def _open(settings: Download) -> AbstractAsyncContextManager[Fetcher[_Token]]:
    return open_fetcher(settings)


class _NetworkWatch:
    """Tells a broken network of this machine from urls that are dead."""

    def __init__(self) -> None:
        self._unanswered: Counter[str] = Counter()
        self._hosts: set[str] = set()

    def see(self, url: str, fetched: Fetched) -> None:
        """Take one result into account.

        Raises:
            DownloadError: for long nothing has come from anywhere.
        """
        if fetched.http_status is not None:
            self._unanswered.clear()
            self._hosts.clear()
        elif fetched.error_class in LOCAL:
            self._unanswered[fetched.error_class] += 1
            self._hosts.add(host_of(url))
        if self._unanswered.total() < UNANSWERED_LIMIT or len(self._hosts) < UNANSWERED_HOSTS:
            return
        [(error_class, count)] = self._unanswered.most_common(1)
        raise DownloadError(
            "the network of this machine",
            f"{self._unanswered.total()} urls on {len(self._hosts)} hosts in a row without any "
            f"answer ({error_class}: {count}, last: {fetched.error_message})",
            "an answer now and then",
            ADVICE[error_class] + " Then run the same again; finished shards are kept.",
        )
