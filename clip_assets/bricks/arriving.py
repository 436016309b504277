"""Urls to image files by the project's own fetcher: polite, safe, and every url ends.

The fetcher lives in a thread with a loop of its own. A datum is taken from upstream when there is
a place for it, and a body keeps its room in the fetcher until its datum is taken; so whoever takes
data slowly slows reading from the sockets. Manners and limits are those of ``download.fetch``.
"""

import asyncio
import threading
from collections.abc import Generator, Iterable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import Brick
from clip_assets.download import embedded
from clip_assets.download.fetch.fetcher import Fetcher, open_fetcher
from clip_assets.download.fetch.jobs import Fetched
from clip_assets.settings import DownloadSettings

NO_URL = "no url"

HOSTS_AHEAD = 4
"""Urls under way for each request at once, so that one slow host is not all that waits."""

T = TypeVar("T")


class Fetch(Brick):
    """Image files of data with a ``url``, in order of arrival.

    Fields are added as a shard's table has them: ``error_class``, ``error_message``,
    ``http_status``, ``attempts``, ``final_url``, ``fetched_at`` and what was said of the image's
    use. The fault of a url that gave no file is its ``error_class``.

    Args:
        settings: limits and manners, by default those of a new pool.
        ahead: urls under way and files that wait to be taken, by default four for each request at
            once.

    Raises:
        DownloadError: while it is iterated: the network of this machine is at fault.
    """

    def __init__(self, settings: DownloadSettings | None = None, ahead: int | None = None) -> None:
        self._settings = settings or DownloadSettings()
        self._ahead = ahead or HOSTS_AHEAD * self._settings.requests_at_once

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``."""
        source, line = iter(data), FetchLine[Datum](self._settings)
        under_way, is_over = 0, False
        try:
            while True:
                while not is_over and under_way < self._ahead:
                    datum = next(source, None)
                    is_over = datum is None
                    if datum is None:
                        break
                    if datum.fault or not datum.fields.get("url"):
                        yield datum if datum.fault else datum.failed(NO_URL)
                        continue
                    line.submit(datum, str(datum.fields["url"]))
                    under_way += 1
                if not under_way or (arrived := line.next()) is None:
                    return
                under_way -= 1
                made = with_file(*arrived, self._settings)
                line.release(arrived[1])
                yield made
        finally:
            line.close()


def with_file(datum: Datum, fetched: Fetched, settings: DownloadSettings) -> Datum:
    """A datum with the file that its url gave, or with the reason why there is none.

    What the file says of its own use is read here, and obeyed.
    """
    refusal = fetched.error_class, fetched.error_message
    if fetched.body is not None:
        embedded.read(fetched.body, fetched.signals)
        refusal = fetched.signals.refusal(settings) or (None, None)
    error_class, message = refusal
    told = datum.told(
        error_class=error_class,
        error_message=message,
        http_status=fetched.http_status,
        attempts=fetched.attempts,
        final_url=fetched.final_url,
        size_bytes=None if fetched.body is None else len(fetched.body),
        fetch_s=fetched.seconds,
        fetched_at=fetched.fetched_at,
        **fetched.signals.as_columns(),
    )
    return told.failed(error_class) if error_class else replace(told, image=fetched.body)


class FetchLine(Generic[T]):
    """The fetcher in its thread, as plain calls.

    Args:
        settings: limits and manners.

    Raises:
        DownloadError: it cannot be opened.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._arrived: SimpleQueue[tuple[T, Fetched] | BaseException | None] = SimpleQueue()
        self._is_open: SimpleQueue[BaseException | None] = SimpleQueue()
        self._loop: Any = None
        self._fetcher: Any = None
        self._end: Any = None
        self._thread = threading.Thread(target=self._live, name="clip-assets-fetch", daemon=True)
        self._thread.start()
        if (error := self._is_open.get()) is not None:
            raise error

    def submit(self, token: T, url: str) -> None:
        """Line a url up; its end comes from ``next`` with the token."""
        self._loop.call_soon_threadsafe(self._fetcher.submit, token, url)

    def next(self) -> tuple[T, Fetched] | None:
        """How one more url ended, in order of arrival; None after ``wake``.

        Raises:
            DownloadError: the network of this machine is at fault.
        """
        arrived = self._arrived.get()
        if isinstance(arrived, BaseException):
            raise arrived
        return arrived

    def wake(self) -> None:
        """Let one ``next`` that waits return without a url."""
        self._arrived.put(None)

    def release(self, fetched: Fetched) -> None:
        """Make room for another body."""
        self._loop.call_soon_threadsafe(self._fetcher.release, fetched)

    def close(self) -> None:
        """End the requests under way and the thread."""
        if self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _live(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            # Before the fetcher was open nobody waits for urls yet.
            (self._is_open if self._fetcher is None else self._arrived).put(error)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        opened: Any = open_fetcher(self._settings)
        async with opened as fetcher:
            self._fetcher = fetcher
            count = self._settings.requests_at_once
            workers = [asyncio.create_task(self._work(fetcher)) for _ in range(count)]
            self._is_open.put(None)
            await self._end.wait()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, fetcher: Fetcher[T]) -> None:
        while True:
            try:
                self._arrived.put(await fetcher.next())
            except Exception as error:  # whoever waits for a url is told, and ends the line
                self._arrived.put(error)
                return
