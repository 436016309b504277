"""What one service offers, and to whom; fixed when it starts.

What pools there are is said by ``hosting.hosted``.
"""

import re
from dataclasses import dataclass

from clip_assets.errors import ConfigurationError

MIB = 2**20

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+")

_WITH_PORT = re.compile(r"[^:]*:\d*")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a service offers.

    Args:
        uploads: whether images may be sent.
        image_urls: whether it fetches images that a query names by url.
        body_bytes: most that a request may hold.
        columns: of the pools' metadata that are told; None: all.
        hosts: names that requests may call it by, without ports; empty for any.
        origins: of pages elsewhere that may ask; those of this machine always may.
        token: that requests must bear; None: none.
        per_second: requests of one client that are answered over time; 0: any number.
        threads: that search at once in this process; 0: one for each core.

    Raises:
        ConfigurationError: a host or an origin that no request can have.
    """

    uploads: bool = True
    image_urls: bool = False
    body_bytes: int = 16 * MIB
    columns: tuple[str, ...] | None = None
    hosts: frozenset[str] = frozenset()
    origins: tuple[str, ...] = ()
    token: str | None = None
    per_second: float = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    "origin",
                    repr(origin),
                    "*, or as browsers say it: https://example.org",
                    "Write the scheme and the host, and nothing after them.",
                )
        for host in self.hosts:
            if "/" in host or _WITH_PORT.fullmatch(host):
                raise ConfigurationError(
                    "host",
                    repr(host),
                    "a name, such as example.org",
                    "Write it without a scheme and a port.",
                )
