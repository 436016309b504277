"""Where web servers send requests for a file on to: which addresses may be used, and how long.

They are asked for by ``web_stretches``.
"""

import asyncio
import math
import time
from collections import OrderedDict
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from clip_assets.errors import SourceError
from clip_assets.files import public_addresses

KEPT_BYTES = 2 << 20
"""Of addresses that are kept; those used longest ago are forgotten."""

UNSIGNED_S = 300.0
"""An address that nobody signed is asked for anew after so long: what it leads to may change."""

SIGNED_S = 3_600.0
"""One that ends: after so long, or before it does."""

EARLY_S = 10.0
"""So long before it ends: clocks differ, and a request takes its time."""

ENTRY_BYTES = 500
"""Of what is kept beside the texts of an address."""


class Address(NamedTuple):
    """Where stretches of a file are asked for.

    Args:
        url: may open the file to whoever has it.
        until_s: when it is asked for anew, in seconds since 1970.
        is_own: it is the file's own; what leads elsewhere ends.
        is_trusted: the server is the file's own, and gets the user's credentials.
        is_public: only public addresses of the network are connected to.
    """

    url: URL
    until_s: float = math.inf
    is_own: bool = True
    is_trusted: bool = True
    is_public: bool = False


class KeptAddresses:
    """Addresses by the url of their file, up to ``KEPT_BYTES``."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, Address] = OrderedDict()
        self.size_bytes = 0

    def get(self, url: str) -> Address | None:
        """That of a file, if it has not ended."""
        known = self._addresses.get(url)
        if known is None or known.until_s <= time.time():
            return None
        self._addresses.move_to_end(url)
        return known

    def put(self, url: str, address: Address) -> None:
        """Keep it."""
        self.forget(url)
        self._addresses[url] = address
        self.size_bytes += _size(url, address)
        while self.size_bytes > KEPT_BYTES:
            self.forget(next(iter(self._addresses)))

    def forget(self, url: str) -> None:
        """That of a file, if there is one."""
        known = self._addresses.pop(url, None)
        if known is not None:
            self.size_bytes -= _size(url, known)


async def is_on_internet(url: URL) -> bool:
    """Whether a server has a public address; behind a proxy none has one, it is the proxy's."""
    host = url.raw_host or ""
    if url.scheme in getproxies() and not proxy_bypass(host):
        return False
    try:
        own = [host] if ":" in host or host[-1:].isdigit() else []
        if not own:
            told = await asyncio.get_running_loop().getaddrinfo(host, url.port)
            own = [str(each[4][0]) for each in told]
        return any(public_addresses.is_public(ip_address(each.partition("%")[0])) for each in own)
    except (OSError, ValueError):
        return False


def further(before: Address, told: str, uri: str, *, is_public: bool) -> Address:
    """Where an answer sends a request on to.

    Args:
        before: that it was sent to.
        told: where to, as the answer has it.
        uri: of the file, for errors.
        is_public: whether the server that it was sent to is on the internet.

    Raises:
        SourceError: it leads where strangers may not send us: from https to http, out of the
            web, or from a public address into a network of its own.
    """
    try:
        url = before.url.join(URL(told))
        is_same_server = url.origin() == before.url.origin()
    except ValueError:
        raise _refused(uri, "no address") from None
    is_trusted = before.is_trusted and is_same_server
    if is_trusted and before.url.user:
        url = url.with_user(before.url.user).with_password(before.url.password)
    schemes = ("https",) if before.url.scheme == "https" else ("http", "https")
    if url.scheme not in schemes:
        raise _refused(uri, f"{url.scheme}, from {before.url.scheme}")
    is_public = before.is_public or is_public
    if is_public and not is_same_server:
        check_public(url.raw_host or "", uri)
    until_s = min(kept_until_s(url, time.time()), before.until_s)
    return Address(url, until_s, is_own=False, is_trusted=is_trusted, is_public=is_public)


def check_public(host: str, uri: str) -> None:
    """Refuse an address that is not public; names are for ``PublicResolver``.

    Raises:
        SourceError: it is not.
    """
    try:
        literal = ip_address(host.partition("%")[0])
    except ValueError:
        return
    if not public_addresses.is_public(literal):
        raise _refused(uri, f"{literal}, which is not public")


def kept_until_s(url: URL, now_s: float) -> float:
    """How long an address is kept, if it is told now; times are in seconds since 1970."""
    ends = ends_s(url)
    lasts_s = SIGNED_S if math.isfinite(ends) else UNSIGNED_S
    return min(now_s + lasts_s, ends - EARLY_S)


def ends_s(url: URL) -> float:
    """When an address ends, as its signature says; infinite where it says nothing."""
    told = {name.lower(): value for name, value in url.query.items()}
    ends = [math.inf]
    try:
        if "expires" in told:  # Google's and Amazon's older form, CloudFront
            ends.append(float(told["expires"]))
        for kind in ("amz", "goog"):
            if f"x-{kind}-expires" in told:
                since = datetime.strptime(told[f"x-{kind}-date"], "%Y%m%dT%H%M%SZ")
                lasts_s = float(told[f"x-{kind}-expires"])
                ends.append(since.replace(tzinfo=UTC).timestamp() + lasts_s)
        if "se" in told and "sig" in told:  # Azure
            ends.append(datetime.fromisoformat(told["se"]).timestamp())
    except (KeyError, ValueError):
        return 0.0  # nobody knows
    return min(ends)


class PublicResolver(AbstractResolver):
    """Names lead to public addresses, or nowhere."""

    def __init__(self) -> None:
        self._real: Any = DefaultResolver()

    async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[ResolveResult]:
        """Addresses of a name.

        Raises:
            SourceError: one of them is not public.
        """
        every: list[ResolveResult] = await self._real.resolve(host, *args, **kwargs)
        for each in every:
            check_public(each["host"], host)
        return every

    async def close(self) -> None:
        """Let go of what it asks."""
        await self._real.close()


async def public_client(**kwargs: Any) -> aiohttp.ClientSession:
    """A session that connects to public addresses alone."""
    connector = aiohttp.TCPConnector(resolver=PublicResolver())
    return aiohttp.ClientSession(connector=connector, **kwargs)


def _size(url: str, address: Address) -> int:
    return len(url) + len(str(address.url)) + ENTRY_BYTES


def _refused(uri: str, led_to: str) -> SourceError:
    return SourceError(
        uri,
        f"a redirect to {led_to}",
        "one to a web server that everybody may ask",
        "Name the address itself where you trust it, or copy the files here.",
    )
