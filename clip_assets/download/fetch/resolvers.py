"""Host names to addresses that may be connected to.

Names go to the system's resolver, or to chosen nameservers: what a system does with thousands of
names a second is the most frequent reason for a low success rate. Good answers are cached by
the client, and names without an address here.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import FetchError
from clip_assets.errors import ConfigurationError

NAME_TTL_S = 300.0
"""For this long a name's addresses, or that it has none, are known."""

NAMES_KEPT = 10_000
"""Names without an address that are remembered at most; the oldest are forgotten first."""

NAMESERVER_TIMEOUT_S = 3.0
"""For a nameserver's first answer; it is asked ``NAMESERVER_TRIES`` times, ever more patiently."""

NAMESERVER_TRIES = 2

_FINAL = {pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME}
# Answers of nameservers that say that there is no address; others say that they do not know.

Addresses = list[tuple[socket.AddressFamily, str]]
"""Addresses of a name, each with its family."""


class GuardedResolver(AbstractResolver):
    """Names to addresses, every one of them judged by an ``AddressGuard``.

    Args:
        guard: judges.
        nameservers: addresses, or address:port, of the servers to ask; none: the system's way.
        threads: names resolved at once in the system's way.

    Raises:
        ConfigurationError: a nameserver is no address.
    """

    def __init__(self, guard: AddressGuard, nameservers: list[str], threads: int) -> None:
        self._guard = guard
        self._unknown: dict[str, tuple[float, socket.gaierror]] = {}
        self._threads = ThreadPoolExecutor(threads, "clip-assets-dns")
        self._nameservers = _Nameservers(nameservers) if nameservers else None
        self._look_up: Callable[[str, socket.AddressFamily], Awaitable[Addresses]] = (
            self._nameservers.look_up if self._nameservers else self._ask_system
        )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public (or allowed) addresses of a name.

        Raises:
            OSError: there are none; its cause is a ``FetchError`` when addresses were refused.
        """
        self._raise_if_unknown(host)
        try:
            addresses = await self._look_up(host, family)
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                if len(self._unknown) >= NAMES_KEPT:
                    del self._unknown[next(iter(self._unknown))]
                self._unknown[host] = (time.monotonic() + NAME_TTL_S, error)
            raise
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from None
        return self._admitted(host, port, addresses)

    def _raise_if_unknown(self, host: str) -> None:
        until, error = self._unknown.pop(host, (0.0, None))
        if error is not None and time.monotonic() < until:
            self._unknown[host] = (until, error)
            raise socket.gaierror(error.errno, error.strerror)

    async def _ask_system(self, host: str, family: socket.AddressFamily) -> Addresses:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _getaddrinfo, host, family
        )

    def _admitted(self, host: str, port: int, addresses: Addresses) -> list[ResolveResult]:
        admitted: list[ResolveResult] = []
        refusal: FetchError | None = None
        for family, address in addresses:
            try:
                self._guard.check(host, port, address)
            except FetchError as fault:
                refusal = fault
                continue
            admitted.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=family,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not admitted:
            raise OSError(None, f"no address of {host} may be connected to") from refusal
        return admitted

    async def close(self) -> None:
        """Let the threads go; a name that is being resolved ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._nameservers:
            await self._nameservers.close()


class _Nameservers:
    """Nameservers that are asked in turn until one answers."""

    def __init__(self, servers: list[str]) -> None:
        for server in servers:
            _check_server(server)
        self._client = aiodns.DNSResolver(
            servers,
            timeout=NAMESERVER_TIMEOUT_S,
            tries=NAMESERVER_TRIES,
            # The names of urls are whole; nothing is to be tried at their end.
            flags=pycares.ARES_FLAG_NOSEARCH,
        )

    async def look_up(self, host: str, family: socket.AddressFamily) -> Addresses:
        try:
            answer = await self._client.getaddrinfo(host, family, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            number, message = error.args
            code = socket.EAI_NONAME if number in _FINAL else socket.EAI_AGAIN
            raise socket.gaierror(code, str(message)) from None
        return [
            (socket.AddressFamily(node.family), node.addr[0].decode("ascii"))
            for node in answer.nodes
        ]

    async def close(self) -> None:
        await self._client.close()


def _check_server(entry: str) -> None:
    try:
        url = None if _is_address(entry) else URL(f"dns://{entry}")
        is_place = url is None or (_is_address(url.host or "") and not url.path.strip("/"))
    except ValueError:
        is_place = False
    if not is_place:
        raise ConfigurationError(
            "download.nameservers",
            repr(entry),
            "an address, with or without :port",
            "For example 1.1.1.1, 127.0.0.1:5353 or [::1]:53.",
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _getaddrinfo(host: str, family: socket.AddressFamily) -> Addresses:
    answers = socket.getaddrinfo(
        host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [(family, str(address[0])) for family, _, _, _, address in answers]
