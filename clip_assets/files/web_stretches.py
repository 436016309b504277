"""Parts of files of web servers, read where the server sends requests for them on to.

A hub answers each request for a file with a redirect to its store. It is asked once for each file,
and further stretches are asked for there, until that address ends. With each comes the version of
its file, so that nobody needs to look whether it is still the same.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from clip_assets.errors import SourceError
from clip_assets.files.web_addresses import Address, KeptAddresses, further, is_on_internet

MOST_REDIRECTS = 10

MOST_SERVERS = 100
"""Of which it is kept whether they are on the internet."""

_REDIRECTS = (301, 302, 303, 307, 308)


class WebStretch(NamedTuple):
    """Some bytes of a file, and which file that was.

    Args:
        content: the bytes.
        size_bytes: of the whole file; 0 where the server does not tell.
        etag: of the file, or when it changed; empty where the server does not tell.
    """

    content: bytes
    size_bytes: int
    etag: str


class WebStretches:
    """Reads stretches, in the event loop of its file system.

    Args:
        fs: fsspec's of web servers, with the user's credentials.
        strangers: the same without them; and one that connects to public addresses alone.
    """

    def __init__(self, fs: Any, strangers: tuple[Any, Any]) -> None:
        self._fs, self._strangers = fs, strangers
        self._kept = KeptAddresses()
        self._is_on_internet: dict[URL, bool] = {}
        self._asking: dict[str, asyncio.Future[Address]] = {}

    async def read(self, asked: Sequence[tuple[str, str]]) -> list[WebStretch]:
        """The stretches of some files, side by side.

        Args:
            asked: url and stretch of each, as the header ``Range`` says it: ``bytes=0-9``.
        """
        every = [self._stretch(url, stretch) for url, stretch in asked]
        answers: list[WebStretch] = []
        # All are awaited: of those that nobody awaits, faults would be told at the end.
        for answer in await asyncio.gather(*every, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
        return answers

    async def _stretch(self, url: str, stretch: str) -> WebStretch:
        known = self._kept.get(url)
        if known is None:
            known, answer = await self._found(url, stretch, ended=None)
            if answer is not None:
                return answer
        try:
            return await self._asked(known, url, stretch)
        except (aiohttp.ClientError, OSError, TimeoutError):
            if known.is_own:
                raise
        # It ended, or what lay there has moved.
        known, answer = await self._found(url, stretch, ended=known)
        return await self._asked(known, url, stretch) if answer is None else answer

    async def _found(
        self, url: str, stretch: str, ended: Address | None
    ) -> tuple[Address, WebStretch | None]:
        """Where a file is, and the stretch if it came with that.

        One request asks, and others for the same file wait for what it learns.
        """
        asking = self._asking.get(url)
        if asking is not None:
            return await asyncio.shield(asking), None  # others wait for it, too
        known = self._kept.get(url)
        if known is not None and known != ended:
            return known, None
        asking = self._asking[url] = asyncio.get_running_loop().create_future()
        try:
            address, answer = await self._followed(url, stretch)
            self._kept.put(url, address)
        except Exception as error:
            asking.set_exception(error)
            asking.exception()  # this request tells it, whether others wait or not
            raise
        else:
            asking.set_result(address)
            return address, answer
        finally:
            asking.cancel()
            del self._asking[url]

    async def _followed(self, url: str, stretch: str) -> tuple[Address, WebStretch]:
        """From a file's own url on, wherever it leads."""
        address = Address(self._fs.encode_url(url))
        for _ in range(MOST_REDIRECTS):
            async with await self._get(address, stretch) as answer:
                told = answer.headers.get("Location")
                if answer.status not in _REDIRECTS or told is None:
                    return address, await _told(answer, url, stretch)
            is_public = await self._is_public(address)
            address = further(address, told, url, is_public=is_public)
        raise SourceError(
            url, f"more than {MOST_REDIRECTS} redirects", "a file", "Name where it lies itself."
        )

    async def _is_public(self, address: Address) -> bool:
        origin = address.url.origin()
        if origin not in self._is_on_internet:
            if len(self._is_on_internet) == MOST_SERVERS:
                self._is_on_internet.clear()
            self._is_on_internet[origin] = await is_on_internet(address.url)
        return self._is_on_internet[origin]

    async def _asked(self, address: Address, url: str, stretch: str) -> WebStretch:
        async with await self._get(address, stretch) as answer:
            if answer.status not in _REDIRECTS:
                return await _told(answer, url, stretch)
        # Since a moment ago.
        self._kept.forget(url)
        return (await self._followed(url, stretch))[1]

    async def _get(self, address: Address, stretch: str) -> Any:
        """What gives the answer when it is entered."""
        fs = self._fs if address.is_trusted else self._strangers[address.is_public]
        session = await fs.set_session()
        return session.get(address.url, headers={"Range": stretch}, allow_redirects=False)


async def _told(answer: aiohttp.ClientResponse, url: str, stretch: str) -> WebStretch:
    if answer.status == 404:
        raise FileNotFoundError(url)
    if answer.status == 416:  # the file ends before
        return WebStretch(b"", 0, "")
    answer.raise_for_status()
    if answer.status != 206 or answer.headers.get("Content-Encoding", "identity") != "identity":
        # Not read: it may be all of a large file.
        raise _without_ranges(url, f"status {answer.status} where a stretch was asked for")
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    etag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    content, most = bytearray(), _length(stretch)
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > most:  # however much the server would send
            raise _without_ranges(url, f"more than the {most:,} bytes that were asked for")
    return WebStretch(bytes(content), int(total) if total.isdecimal() else 0, etag)


def _length(stretch: str) -> int:
    """Bytes of a stretch, as the header ``Range`` says it."""
    first, _, last = stretch.removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1 if first else int(last)


def _without_ranges(url: str, found: str) -> SourceError:
    return SourceError(
        url,
        found,
        "a server that knows ranges",
        "Copy the files here, or serve them by one that does.",
    )
