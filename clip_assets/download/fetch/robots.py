"""What robots.txt of a host allows us, asked once per host.

The rules are those of RFC 9309: ``*`` and ``$`` in paths, and the longest rule that matches.
"""

import asyncio
import re

import aiohttp
from protego import Protego
from yarl import URL

from clip_assets.download.fetch import urls
from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import EXPECTED, LOCAL, REDIRECTS, FetchError, classify
from clip_assets.download.fetch.odd_answers import Unpacker
from clip_assets.download.fetch.policy import ROBOT

MAX_BYTES = 500 * 1024
"""Rules beyond this are not read; the limit that RFC 9309 asks for."""

MAX_REDIRECTS = 5
"""Followed for one robots.txt, as RFC 9309 asks for."""

HOSTS_KEPT = 1000
"""Hosts whose rules are remembered; the oldest are forgotten first."""

_AGENT = re.compile(r"\s*user[-\s]*agent[\s:]+(\*(?=\s*(?:#|$))|[a-z_-]*)", re.IGNORECASE)
# Read as RFC 9309 says: letters, "-" and "_" are a robot's name, and what follows is no part of it.


class Robots:
    """Rules of hosts, read when a host is first asked about.

    Args:
        session: the HTTP client.
        guard: judges literal addresses.
        deadline_s: for one robots.txt.
    """

    def __init__(
        self, session: aiohttp.ClientSession, guard: AddressGuard, deadline_s: float
    ) -> None:
        self._session = session
        self._guard = guard
        self._deadline_s = deadline_s
        self._rules: dict[URL, asyncio.Task[Protego]] = {}

    async def check(self, url: URL) -> None:
        """Refuse a url that its host's rules do not allow us.

        Raises:
            FetchError: ``policy_robots``; why the host cannot be reached; or
                ``robots_unanswered`` when it can, but does not tell its rules, which RFC 9309
                takes as a refusal for the time being.
        """
        origin = url.origin()
        if origin not in self._rules:
            if len(self._rules) >= HOSTS_KEPT:
                del self._rules[next(iter(self._rules))]
            self._rules[origin] = asyncio.create_task(self._read(origin / "robots.txt"))
        # Others wait for the same rules, whatever becomes of this url.
        rules = await asyncio.shield(self._rules[origin])
        if not rules.can_fetch(str(url), ROBOT):
            raise FetchError("policy_robots", "disallowed by robots.txt")

    async def _read(self, url: URL) -> Protego:
        try:
            async with asyncio.timeout(self._deadline_s):
                lines = await self._lines(url)
        except EXPECTED as error:
            fault = classify(error)
            error_class = fault.error_class if fault.error_class in LOCAL else "robots_unanswered"
            raise FetchError(error_class, f"robots.txt: {fault.message}") from None
        return Protego.parse("\n".join(_with_few_names(line) for line in lines))

    async def _lines(self, url: URL) -> list[str]:
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check_literal(url)
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    url = urls.parse(response.headers.get("Location", ""), base=url)
                    continue
                if response.status >= 500:
                    raise FetchError(f"http_{response.status}", f"status {response.status}")
                if response.status >= 400:
                    return []
                content = bytearray()
                unpack = Unpacker(response.headers.get("Content-Encoding", ""))
                async for chunk in response.content.iter_any():
                    for piece in unpack(chunk):
                        content += piece[: MAX_BYTES - len(content)]
                    if len(content) >= MAX_BYTES:
                        break
                return content.decode("utf-8-sig", errors="replace").splitlines()
        return []


def _with_few_names(line: str) -> str:
    """A line in which every other robot has the same name.

    The parser keeps the rules of a group once for each of its names, so that a file of 500 kB with
    as many of the one as of the other would take all memory.
    """
    agent = _AGENT.match(line)
    if not agent:
        return line
    name = agent[1].lower()
    return f"User-agent: {name if name in ('*', ROBOT) else 'another'}"
