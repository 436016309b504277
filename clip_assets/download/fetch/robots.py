"""What robots.txt of a host allows us and prefers, asked once per host.

The rules are those of RFC 9309: ``*`` and ``$`` in paths, and the longest rule that matches.
AIPREF's lines ``Content-Usage`` (draft-ietf-aipref-attach) and Cloudflare's ``Content-Signal`` are
read beside them.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache

import aiohttp
from protego import Protego
from yarl import URL

from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import EXPECTED, LOCAL, FetchError, classify
from clip_assets.download.fetch.policy import ROBOT
from clip_assets.download.fetch.site_files import SiteFiles

PATTERNS_KEPT = 200
"""Rules of a kind that are told by name, and preferences of paths that are obeyed. Every rule of
robots.txt counts, however many there are."""

PATTERN_CHARACTERS = 300
"""A longer path is not told by name."""

_AGENT = re.compile(r"\s*user[-\s]*agent[\s:]+(\*(?=\s*(?:#|$))|[a-z_-]*)", re.IGNORECASE)
# Read as RFC 9309 says: letters, "-" and "_" are a robot's name, and what follows is no part of it.

_RULE = re.compile(
    r"\s*(disallow|content-usage|content-signal)\s*:\s*([^#]*?)\s*(?:#|$)", re.IGNORECASE
)


class SiteRules:
    """What one robots.txt says to us.

    Args:
        content: of the file, ``b""`` where there is none.
        read_at: when it was read.
    """

    def __init__(self, content: bytes, read_at: datetime) -> None:
        lines = content.decode("utf-8-sig", errors="replace").splitlines()
        self._rules = Protego.parse("\n".join(_with_few_names(line) for line in lines))
        self._disallowed: list[str] = []
        self._told: dict[str, list[tuple[str, str]]] = {"content-usage": [], "content-signal": []}
        self.read_at = read_at
        for kind, value in _our_group(lines):
            if kind == "disallow" and len(self._disallowed) < PATTERNS_KEPT:
                self._disallowed += [value] if len(value) <= PATTERN_CHARACTERS else []
            elif kind in self._told and len(self._told[kind]) < PATTERNS_KEPT:
                path, _, usage = value.replace("\t", " ").partition(" ")
                if not path.startswith("/"):
                    path, usage = "/", value
                self._told[kind] += [(path, usage)] if len(path) <= PATTERN_CHARACTERS else []
        self._disallowed.sort(key=len, reverse=True)

    def verdict(self, url: URL) -> str:
        """``allow``, or ``disallow: `` and the rule that says so, if it has a name."""
        if self._rules.can_fetch(str(url), ROBOT):
            return "allow"
        rules = (path for path in self._disallowed if matches(path, url))
        return f"disallow: {next(rules, '')}".removesuffix(": ")

    @property
    def crawl_delay_s(self) -> float:
        """Seconds that the site asks us to leave between two requests, 0 where it says none."""
        return self._rules.crawl_delay(ROBOT) or 0.0

    def usage(self, url: URL) -> list[str]:
        """What is preferred for a url: values of Content-Usage, of equal weight."""
        return self._preferred("content-usage", url)

    def signal(self, url: URL) -> list[str]:
        """The same of Content-Signal."""
        return self._preferred("content-signal", url)

    def _preferred(self, kind: str, url: URL) -> list[str]:
        told = [(len(path), said) for path, said in self._told[kind] if matches(path, url)]
        longest = max(told, default=(0, ""))[0]
        return [said for weight, said in told if weight == longest]


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
        self._files = SiteFiles(session, guard, deadline_s, "/robots.txt", SiteRules)

    async def rules(self, url: URL) -> SiteRules:
        """The rules of a url's host.

        Raises:
            FetchError: why the host cannot be reached; or ``robots_unanswered`` when it can, but
                does not tell its rules, which RFC 9309 takes as a refusal for the time being.
        """
        try:
            return await self._files.of(url)
        except EXPECTED as error:
            fault = classify(error)
            error_class = fault.error_class if fault.error_class in LOCAL else "robots_unanswered"
            raise FetchError(error_class, f"robots.txt: {fault.message}") from None


def matches(pattern: str, url: URL) -> bool:
    """Whether a pattern of paths, with ``*`` and ``$`` as in robots.txt, is that of a url."""
    return not _pattern(pattern).can_fetch(str(url), ROBOT)


@lru_cache(10_000)
def _pattern(pattern: str) -> Protego:
    return Protego.parse(f"User-agent: *\nDisallow: {' '.join(pattern.splitlines())}")


def _our_group(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Rules that are for us, or for everyone where nothing is for us: kind and value."""
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: set[str] = set()
    is_begun = True
    for line in lines:
        if agent := _AGENT.match(line):
            agents = {agent[1].lower()} if is_begun else agents | {agent[1].lower()}
            is_begun = False
            for name in agents & {"*", ROBOT}:
                groups.setdefault(name, [])
        elif ":" in line.partition("#")[0]:
            is_begun = True
            if rule := _RULE.match(line):
                for name in agents & {"*", ROBOT}:
                    groups[name].append((rule[1].lower(), rule[2]))
    yield from groups.get(ROBOT, groups.get("*", []))


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
