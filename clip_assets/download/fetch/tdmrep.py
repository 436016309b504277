"""What ``/.well-known/tdmrep.json`` of a host reserves, asked once per host.

Source: W3C Community Group, TDM Reservation Protocol, "TDM File on the Origin Server".
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import EXPECTED
from clip_assets.download.fetch.robots import PATTERN_CHARACTERS, PATTERNS_KEPT, matches
from clip_assets.download.fetch.site_files import SiteFiles


class Reservations:
    """What one tdmrep.json says.

    Args:
        content: of the file, ``b""`` where there is none. What is no list of rules says nothing.
        read_at: when it was read.
    """

    def __init__(self, content: bytes, read_at: datetime) -> None:
        self.read_at = read_at
        self._rules = list(_rules(content))

    def of(self, url: URL) -> str:
        """``1``, reserved, or ``0``, and a policy's url behind it; ``unset`` without a rule."""
        told = (value for pattern, value in self._rules if matches(pattern, url))
        return next(told, "unset")  # the first rule that matches counts


class TdmRep:
    """Reservations of hosts, read when a host is first asked about.

    Args:
        session: the HTTP client.
        guard: judges literal addresses.
        deadline_s: for one file.
    """

    def __init__(
        self, session: aiohttp.ClientSession, guard: AddressGuard, deadline_s: float
    ) -> None:
        path = "/.well-known/tdmrep.json"
        self._files = SiteFiles(session, guard, deadline_s, path, Reservations)

    async def said(self, url: URL) -> tuple[str, datetime]:
        """What a url's host says of it, ``unanswered`` if it cannot be read, and since when."""
        try:
            reservations = await self._files.of(url)
        except EXPECTED:
            return "unanswered", datetime.now(UTC)
        return reservations.of(url), reservations.read_at


def _rules(content: bytes) -> Iterator[tuple[str, str]]:
    """Patterns of paths and what is said of them, the first ``PATTERNS_KEPT``."""
    try:
        told: Any = json.loads(content)
    except (ValueError, RecursionError):
        return
    for rule in told[:PATTERNS_KEPT] if isinstance(told, list) else []:
        match rule:
            case {"location": str(location), "tdm-reservation": 0 | 1 | "0" | "1" as reservation}:
                policy = rule.get("tdm-policy")
                policy = policy if isinstance(policy, str) else ""
                # A lone surrogate is no character of a path.
                path = location.encode("utf-8", "replace").decode()
                if len(path) <= PATTERN_CHARACTERS and "#" not in path:
                    yield path, f"{int(reservation)} {policy}".strip()
            case _:
                pass
