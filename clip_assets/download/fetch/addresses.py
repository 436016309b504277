"""Which addresses may be connected to, checked on the address itself, after resolution.

A url's host name says nothing about where it leads, so ``resolvers`` has every address of a name
judged here before a socket is opened, and the client connects to no others. Literal addresses take
the same judgement without a resolver.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from yarl import URL

from clip_assets.download.fetch.faults import FetchError
from clip_assets.errors import ConfigurationError
from clip_assets.files.public_addresses import is_public


@dataclass(frozen=True, slots=True)
class _Opening:
    """One entry of ``allow_hosts``: a network or a name, on one port or all."""

    network: IPv4Network | IPv6Network | None
    name: str
    port: int | None

    def admits(self, host: str, port: int, address: IPv4Address | IPv6Address) -> bool:
        if self.port not in (None, port):
            return False
        return address in self.network if self.network is not None else host == self.name


class AddressGuard:
    """Refuses private, loopback, link-local, multicast and reserved addresses.

    Args:
        allow_hosts: exceptions: addresses, networks (``10.0.0.0/8``) and names, each with or
            without ``:port``.

    Raises:
        ConfigurationError: an entry is none of these.
    """

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        self._openings = [_opening(entry) for entry in allow_hosts]

    def check(self, host: str, port: int, address: str) -> None:
        """Refuse an address.

        Raises:
            FetchError: ``private_address``.
        """
        ip = ipaddress.ip_address(address.partition("%")[0])
        if is_public(ip):
            return
        if not any(opening.admits(host, port, ip) for opening in self._openings):
            raise FetchError("private_address", f"{host} leads to {ip}, which is not public")

    def check_literal(self, url: URL) -> None:
        """Refuse a url whose host is an address that may not be connected to.

        Raises:
            FetchError: ``private_address``.
        """
        host = url.raw_host or ""
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return
        self.check(host, url.port or 0, host)


def _opening(entry: str) -> _Opening:
    try:
        return _Opening(ipaddress.ip_network(entry, strict=False), "", None)
    except ValueError:
        pass
    try:
        url = URL(f"http://{entry}")
    except ValueError:
        raise _not_an_opening(entry) from None
    host, port = url.host or "", url.explicit_port
    if not host or url.raw_path != "/":
        raise _not_an_opening(entry)
    try:
        return _Opening(ipaddress.ip_network(host), "", port)
    except ValueError:
        return _Opening(None, host, port)


def _not_an_opening(entry: str) -> ConfigurationError:
    return ConfigurationError(
        "download.allow_hosts",
        repr(entry),
        "an address, a network or a name, with or without :port",
        "For example 127.0.0.1, 10.0.0.0/8 or localhost:8080.",
    )
