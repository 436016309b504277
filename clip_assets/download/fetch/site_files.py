"""A small file that a site has for all its urls, such as robots.txt, asked for once per host.

What it says belongs to who asks for it: ``robots`` and ``tdmrep``.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import aiohttp
from yarl import URL

from clip_assets.download.fetch import urls
from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import REDIRECTS, FetchError
from clip_assets.download.fetch.odd_answers import Unpacker

MAX_BYTES = 500 * 1024
"""What is beyond this is not read; the limit that RFC 9309 asks for."""

MAX_REDIRECTS = 5
"""Followed for one file, as RFC 9309 asks for."""

TOO_MANY_REQUESTS = 429
"""The one status below 500 that says nothing about the file."""

HOSTS_KEPT = 1000
"""Hosts whose file is remembered; the oldest are forgotten first."""

KEPT_S = 24 * 3600.0
"""A file is asked for again after this, as RFC 9309 asks for."""

FAILURE_KEPT_S = 60.0
"""A file that did not come is asked for again after this; until then its host is spared."""

T = TypeVar("T")


class SiteFiles(Generic[T]):
    """What one file says at each host, read when a host is first asked about.

    Args:
        session: the HTTP client.
        guard: judges literal addresses; the session's resolver judges names.
        deadline_s: for one file.
        path: of the file, such as ``/robots.txt``.
        parse: what the file's bytes say, ``b""`` for a host that has none, and when they were read.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        guard: AddressGuard,
        deadline_s: float,
        path: str,
        parse: Callable[[bytes, datetime], T],
    ) -> None:
        self._session = session
        self._guard = guard
        self._deadline_s = deadline_s
        self._path = path
        self._parse = parse
        # When it was asked for, and the answer.
        self._read: dict[URL, tuple[float, asyncio.Task[T]]] = {}

    async def of(self, url: URL) -> T:
        """What the file says at a url's host; others that ask wait for the same answer.

        Raises:
            Exception: one of ``faults.EXPECTED``, as no answer came.
        """
        origin = url.origin()
        if origin in self._read and _is_over(*self._read[origin]):
            del self._read[origin]
        if origin not in self._read:
            if len(self._read) >= HOSTS_KEPT:
                del self._read[next(iter(self._read))]
            asked = asyncio.create_task(self._ask(origin.with_path(self._path)))
            self._read[origin] = time.monotonic(), asked
        return await asyncio.shield(self._read[origin][1])

    async def _ask(self, url: URL) -> T:
        async with asyncio.timeout(self._deadline_s):
            content = await self._content(url)
        return self._parse(content, datetime.now(UTC))

    async def _content(self, url: URL) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check_literal(url)
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    url = urls.parse(response.headers.get("Location", ""), base=url)
                    continue
                if response.status >= 500 or response.status == TOO_MANY_REQUESTS:
                    raise FetchError(f"http_{response.status}", f"status {response.status}")
                if response.status >= 400:
                    return b""
                content = bytearray()
                unpack = Unpacker(response.headers.get("Content-Encoding", ""))
                async for chunk in response.content.iter_any():
                    for piece in unpack(chunk):
                        content += piece[: MAX_BYTES - len(content)]
                    if len(content) >= MAX_BYTES:
                        break
                return bytes(content)
        return b""


def _is_over(asked_at: float, answer: asyncio.Task[T]) -> bool:
    """Whether an answer is too old to be believed."""
    has_failed = answer.done() and (answer.cancelled() or answer.exception() is not None)
    return time.monotonic() - asked_at > (FAILURE_KEPT_S if has_failed else KEPT_S)
