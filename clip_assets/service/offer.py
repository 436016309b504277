"""What one service offers, and to whom; fixed when it starts.

What pools there are is said by ``service.hosted``.
"""

from dataclasses import dataclass

MIB = 2**20


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
