"""Urls to bytes, many at once: polite, safe, and every url ends.

A url takes one turn of its host per request: a redirect or a retry goes back to the end of
the line (of the new host), so nobody waits in a slot. Which turns there are is decided in
``hosts``, which addresses may be reached in ``addresses``, what faults mean in ``faults``.
Nothing here looks at what the bytes are.

Memory: all bodies together, from their first byte to their ``release``, stay within the settings'
``body_bytes`` (see ``room``), and what is read ahead of them within ``requests_at_once`` times
``settings.sections.REQUEST_BYTES``.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Generic, TypeVar

import aiohttp
from yarl import URL

from clip_assets.download.fetch import policy, urls
from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.client import open_client
from clip_assets.download.fetch.distances import Distances
from clip_assets.download.fetch.faults import EXPECTED, REDIRECTS, FetchError, classify
from clip_assets.download.fetch.hosts import HostQueue
from clip_assets.download.fetch.jobs import Fetched, Job
from clip_assets.download.fetch.odd_answers import Unpacker
from clip_assets.download.fetch.outage import NetworkWatch
from clip_assets.download.fetch.room import BodyRoom
from clip_assets.download.fetch.signals import Signals
from clip_assets.download.fetch.site_says import SiteSays
from clip_assets.settings import DownloadSettings

T = TypeVar("T")

BACKOFF_S = 1.0
"""Pause before the first further attempt; doubled for each one after."""

DOWN_AFTER = 20
"""A host that fails so many requests in a row is left alone for ``DOWN_S``."""

DOWN_S = 60.0


class Fetcher(Generic[T]):
    """Fetches urls: ``submit`` them with a token each, and take results with ``next``.

    ``release`` each result when its body is no longer needed.

    Args:
        session: the HTTP client, see ``open_fetcher``.
        guard: judges literal addresses; the session's resolver judges names.
        settings: limits and manners.
        watch: tells a broken network of this machine.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        guard: AddressGuard,
        settings: DownloadSettings,
        watch: NetworkWatch,
    ) -> None:
        self._session = session
        self._guard = guard
        self._settings = settings
        self._queue: HostQueue[Job[T]] = HostQueue(settings.requests_at_once, settings.per_host)
        self._site = SiteSays(session, guard, settings)
        self._room = BodyRoom(*settings.body_bytes)
        self._distances = Distances()
        # By port of a host: failures in a row, and when the last one was.
        self._failing: dict[str, tuple[int, float]] = {}
        self._watch = watch

    def submit(self, token: T, url: str, *, was_silent: bool = False) -> None:
        """Line a url up; its result comes from ``next`` with the token.

        Args:
            token: tells the result from others.
            url: as its source has it.
            was_silent: no server answered when an earlier run tried it, so that it would be no
                sign of a broken network if none answers again.
        """
        job = Job(token, was_silent)
        try:
            job.target = urls.parse(url)
            self._guard.check_literal(job.target)
        except FetchError as fault:
            job.fault = fault
        self._queue.put(job.line, job)

    async def next(self) -> tuple[T, Fetched]:
        """The result of one more url, in order of arrival; any number of tasks may wait.

        Raises:
            DownloadError: the network of this machine is at fault.
        """
        while True:
            line, job = await self._queue.get()
            try:
                if job.fault is None and job.target is not None and not self._is_down(job):
                    await self._turn(line, job, job.target)
            finally:
                self._queue.done(line)
            if job.body is not None or job.fault is not None:
                return job.token, job.result()

    @property
    def last_answer(self) -> datetime:
        """When a server answered last; what failed since may be this machine's fault."""
        return self._watch.last_answer

    def release(self, result: Fetched) -> None:
        """Make room for another body."""
        self._room.release(result.held)

    def _is_down(self, job: Job[T]) -> bool:
        failures, last = self._failing.get(job.server, (0, 0.0))
        if failures < DOWN_AFTER or time.monotonic() - last > DOWN_S:
            return False
        if job.attempts == 0 and not job.was_silent:
            self._watch.not_asked(job.line)
        job.fault = FetchError("host_down", f"not asked, as {failures} requests in a row failed")
        return True

    async def _turn(self, line: str, job: Job[T], target: URL) -> None:
        """One request; without a body and a fault the job is in line again."""
        if job.redirects == 0:
            job.attempts += 1
            job.signals = Signals()
        if self._settings.per_host_interval_s:
            self._queue.pause(line, self._settings.per_host_interval_s)
        server = job.server
        try:
            with self._watch.asking(line):
                await self._attempt(line, job, target)
        except EXPECTED as error:
            fault = classify(error)
            if job.status is not None:
                self._watch.answered(line)
            elif job.attempts == 1 and not job.was_silent:
                self._watch.unanswered(line, fault)
            self._failed(line, job, fault)
        else:
            if job.status is not None:
                self._watch.answered(line)
                self._failing.pop(server, None)

    async def _attempt(self, line: str, job: Job[T], target: URL) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._left_s(job)) as deadline:
                await self._request(line, job, target, deadline)
        finally:
            job.seconds += time.monotonic() - start
            if job.body is None:
                self._room.release(job.held)

    async def _request(
        self, line: str, job: Job[T], target: URL, deadline: asyncio.Timeout
    ) -> None:
        job.status = None
        delay_s = await self._site.ask(target, job.signals)
        if wait_s := self._distances.claim(line, delay_s):
            self._come_again(line, job, wait_s)
            return
        headers = {"Connection": "close"} if self._queue.is_last(line) else None
        async with self._session.get(target, headers=headers, allow_redirects=False) as response:
            job.status = response.status
            if response.status in REDIRECTS:
                self._redirect(job, target, response.headers.get("Location", ""))
                return
            if not 200 <= response.status < 300:
                raise FetchError(
                    f"http_{response.status}",
                    f"HTTP Error {response.status}: {response.reason}",
                    policy.retry_after_s(response.headers),
                )
            job.signals.take_headers(response.headers)
            if refusal := job.signals.refusal(self._settings):
                raise FetchError(*refusal)
            job.body = await self._read(job, response, deadline)

    def _come_again(self, line: str, job: Job[T], wait_s: float) -> None:
        """Line a job up that must leave its host some time first; it has not been tried."""
        if job.redirects == 0:
            job.attempts -= 1
        self._queue.pause(line, wait_s)
        self._queue.put(line, job)

    async def _read(
        self, job: Job[T], response: aiohttp.ClientResponse, deadline: asyncio.Timeout
    ) -> bytes:
        """The body; it keeps its room until ``release``."""
        limit = self._settings.max_bytes
        too_large = FetchError("too_large", f"more than {limit:,} bytes")
        length = response.content_length
        if (length or 0) > limit:
            raise too_large
        label = response.headers.get("Content-Encoding", "")
        most = limit if length is None or label else length
        body = bytearray()
        unpack = Unpacker(label, limit)
        async for chunk in response.content.iter_any():
            for piece in unpack(chunk):
                if len(body) + len(piece) > limit:
                    raise too_large
                if not self._room.grows(job.held, len(body) + len(piece)):
                    job.seconds -= await self._wait_for_room(job, most, deadline)
                body += piece
        self._room.keep(job.held, len(body))
        return bytes(body)

    async def _wait_for_room(self, job: Job[T], size: int, deadline: asyncio.Timeout) -> float:
        """Wait for room; the server is not to blame, so the deadline waits too.

        Returns:
            Seconds.
        """
        loop = asyncio.get_running_loop()
        start, end = loop.time(), deadline.when()
        assert end is not None
        deadline.reschedule(None)
        await self._room.reserve(job.held, size)
        waited_s = loop.time() - start
        deadline.reschedule(end + waited_s)
        return waited_s

    def _left_s(self, job: Job[T]) -> float:
        """What is left of a url's time. Turns are not the url's, so waiting for them is free."""
        return self._settings.deadline_s - job.seconds - job.paused_s

    def _redirect(self, job: Job[T], base: URL, location: str) -> None:
        """Send a job to where it was redirected.

        Raises:
            FetchError: it may not go there.
        """
        if job.redirects >= self._settings.max_redirects:
            raise FetchError("redirect", f"more than {job.redirects} redirects")
        if not location:
            raise FetchError("redirect", "redirected nowhere")
        try:
            job.target = urls.parse(location, base=base)
            self._guard.check_literal(job.target)
        except FetchError as fault:
            raise FetchError(fault.error_class, f"redirected: {fault.message}") from fault
        job.redirects += 1
        self._queue.put(job.line, job)

    def _failed(self, line: str, job: Job[T], fault: FetchError) -> None:
        """Give a job up, or line it up for another attempt."""
        if not fault.is_transient:
            self._failing.pop(job.server, None)
            job.fault = fault
            return
        failures, _ = self._failing.get(job.server, (0, 0.0))
        self._failing[job.server] = failures + 1, time.monotonic()
        delay_s = max(BACKOFF_S * 2 ** (job.attempts - 1), fault.retry_after_s or 0.0)
        # A server that asks for a longer pause is not asked again in this run.
        if job.attempts > self._settings.retries or delay_s > self._left_s(job):
            job.fault = fault
            return
        job.paused_s += delay_s
        if fault.retry_after_s:
            self._queue.pause(line, fault.retry_after_s)
        job.redirects = 0
        self._queue.put_later(line, job, delay_s)


@contextlib.asynccontextmanager
async def open_fetcher(
    settings: DownloadSettings, *, judges_few: bool = True
) -> AsyncGenerator[Fetcher[T]]:
    """A fetcher with its HTTP client.

    Args:
        settings: limits and manners.
        judges_few: see ``NetworkWatch``.
    """
    guard = AddressGuard(settings.allow_hosts)
    async with open_client(settings, guard) as session:
        yield Fetcher[T](session, guard, settings, NetworkWatch(judges_few=judges_few))
