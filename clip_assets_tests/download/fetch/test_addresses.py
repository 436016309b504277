"""Which addresses may be asked."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import FetchError
from clip_assets.errors import ConfigurationError


def is_refused(guard: AddressGuard, address: str, host: str = "some.host", port: int = 80) -> bool:
    try:
        guard.check(host, port, address)
    except FetchError as error:
        return error.error_class == "private_address"
    return False


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
        "168.63.129.16", "192.0.0.192", "100.100.100.200", "::ffff:168.63.129.16",
        "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "fec0::1", "5f00::1", "3fff::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert is_refused(AddressGuard(), address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_public_addresses_are_admitted(address: str) -> None:
    assert not is_refused(AddressGuard(), address)


@given(st.ip_addresses(v=4))
def test_an_address_mapped_into_ipv6_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")

    assert is_refused(AddressGuard(), str(mapped)) == is_refused(AddressGuard(), str(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "admitted"),
    [
        ("127.0.0.1", "localhost", 80, "127.0.0.1", True),
        ("127.0.0.1", "localhost", 80, "127.0.0.2", False),
        ("127.0.0.0/8", "localhost", 80, "127.9.9.9", True),
        ("127.0.0.1:8080", "localhost", 8080, "127.0.0.1", True),
        ("127.0.0.1:8080", "localhost", 80, "127.0.0.1", False),
        ("localhost", "localhost", 80, "127.0.0.1", True),
        ("localhost", "evil.example", 80, "127.0.0.1", False),
        ("localhost:8080", "localhost", 80, "127.0.0.1", False),
        ("[::1]:8080", "x", 8080, "::1", True),
        ("::1", "x", 8080, "::1", True),
        ("fd00::/8", "x", 80, "fd12::1", True),
    ],
)
def test_openings_open_exactly_what_they_say(
    entry: str, host: str, port: int, address: str, admitted: bool
) -> None:
    assert is_refused(AddressGuard([entry]), address, host, port) == (not admitted)


@pytest.mark.parametrize(
    "entry", ["", "http://localhost/", "a/b", "10.0.0.0/99", "host:port", ":80"]
)
def test_an_opening_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="allow_hosts"):
        AddressGuard([entry])
