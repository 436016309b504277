"""Which addresses are public: of a machine on the internet, and not of a network behind it.

Who may be connected to is said by those who connect: ``download.fetch.addresses`` for images,
``web_addresses`` for where a server sends requests on to.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")

_UNICAST = IPv6Network("2000::/3")
# All that the public internet uses of IPv6, but for NAT64's own prefix.

_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # Azure's host, as each of its machines sees it
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a metadata service of Oracle's too
    IPv6Network("3fff::/20"),  # documentation
)
# What the tables of older releases of Python, or all of them, take for public.


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is none that is private, loopback, link-local, multicast or reserved."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast
