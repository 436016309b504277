"""Parts of files are read where a server sends requests on to, which it is asked once."""

import asyncio
import time
from collections.abc import Iterator
from threading import Barrier, Thread

import fsspec
import pytest
from yarl import URL

from clip_assets.errors import SourceChangedError, SourceError
from clip_assets.files import far_ranges, public_addresses, web_addresses
from clip_assets.files.web_addresses import (
    Address,
    KeptAddresses,
    PublicResolver,
    ends_s,
    kept_until_s,
)
from clip_assets_tests import servers
from clip_assets_tests.servers import Hub

NAME = "we/pairs"
CONTENT = bytes(range(256)) * 40
RANGES = [(n, n + 10) for n in range(0, 1_000, 100)]


@pytest.fixture
def store() -> Iterator[Hub]:
    """A server of its own, to which the hub sends on."""
    with servers.hub() as found:
        yield found


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub of its own: what is known of another one's addresses is kept."""
    with servers.hub() as found:
        yield found


@pytest.fixture
def uri(hub: Hub, store: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A private file of a hub, which its store gives to whoever has the address."""
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.token = "hf_secret"
    hub.store_url = store.url
    store.files[NAME] = {"a file": CONTENT}
    return f"{hub.url}/datasets/{NAME}/resolve/0/a file"


def read(uri: str) -> list[bytes]:
    return [stretch.content for stretch in far_ranges.read(uri, RANGES)]


EXPECTED = [CONTENT[start:stop] for start, stop in RANGES]


def test_a_hub_is_asked_once_for_all_parts_of_a_file(uri: str, hub: Hub, store: Hub) -> None:
    assert read(uri) == EXPECTED
    assert read(uri) == EXPECTED
    assert len(hub.requests) == 1
    assert len(store.requests) == 2 * len(RANGES)
    assert store.authorizations == {""}
    assert hub.authorizations == {"Bearer hf_secret"}


def test_a_part_is_told_with_the_version_of_its_file(uri: str) -> None:
    stretches = far_ranges.read(uri, RANGES)
    assert {stretch.size_bytes for stretch in stretches} == {len(CONTENT)}
    assert all(stretch.is_told and stretch.is_of(stretches[0]) for stretch in stretches)
    tail = far_ranges.tail(uri, 100)
    assert tail.content == CONTENT[-100:]
    assert tail.is_of(stretches[0])
    assert far_ranges.tail(uri, 10**6).content == CONTENT


def test_an_address_that_ends_is_asked_for_anew_in_time(uri: str, hub: Hub, store: Hub) -> None:
    hub.lasts_s = web_addresses.EARLY_S + 1
    read(uri)
    time.sleep(1.1)
    assert read(uri) == EXPECTED
    assert len(hub.requests) == 2
    assert not store.refused


def test_an_address_that_ended_all_the_same_is_asked_for_anew_once(
    uri: str, hub: Hub, store: Hub
) -> None:
    hub.lasts_s = 1_000
    read(uri)
    store.clock_s = 2_000  # the store's clock is fast
    hub.lasts_s = 3_000
    store.requests.clear()
    assert read(uri) == EXPECTED
    assert len(hub.requests) == 2
    assert len(store.requests) < 2 * len(RANGES) + 1
    store.clock_s = 9_000
    with pytest.raises(SourceError, match="403") as refused:
        read(uri)
    assert "signed" not in str(refused.value)


def test_a_file_that_moved_is_found(uri: str, hub: Hub, store: Hub) -> None:
    read(uri)
    with_other = store.files.pop(NAME)
    hub.files[NAME] = with_other
    hub.store_url, hub.token = "", ""
    assert read(uri) == EXPECTED


def test_what_fails_for_one_fails_for_those_that_wait(uri: str, hub: Hub) -> None:
    hub.token = "another"
    with pytest.raises(SourceError, match="401"):
        read(uri)
    assert len(hub.requests) == 1


def test_a_file_that_became_shorter_is_an_error(uri: str, store: Hub) -> None:
    read(uri)
    store.files[NAME]["a file"] = CONTENT[:905]
    with pytest.raises(SourceChangedError, match="5 bytes where 10 should be, in a file of 905"):
        read(uri)


def test_a_server_without_ranges_is_an_error_and_its_file_is_not_read(uri: str, store: Hub) -> None:
    store.knows_ranges = False
    with pytest.raises(SourceError, match="knows ranges"):
        read(uri)


def test_a_server_that_sends_more_than_was_asked_for_is_an_error(uri: str, store: Hub) -> None:
    store.too_much = 8 << 20
    with pytest.raises(SourceError, match="more than the 10 bytes that were asked for"):
        read(uri)
    with pytest.raises(SourceError, match="more than the 100 bytes"):
        far_ranges.read(uri, [(0, 100)])


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/a", "file:///etc/passwd", "http://["])
def test_a_redirect_out_of_the_web_is_refused(uri: str, hub: Hub, place: str) -> None:
    hub.store_url = place
    with pytest.raises(SourceError, match="a redirect to"):
        read(uri)


def test_a_redirect_from_a_public_address_into_a_network_is_refused(
    uri: str, hub: Hub, store: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No public address can be had here: that of the hub stands for one.
    monkeypatch.setattr(public_addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    for host in ("127.0.0.2", "[::1]"):
        hub.store_url = store.url.replace("127.0.0.1", host)
        with pytest.raises(SourceError, match="which is not public"):
            read(uri)
    assert not store.requests
    hub.store_url = store.url
    assert read(uri) == EXPECTED


def test_a_name_that_leads_into_a_network_is_refused() -> None:
    async def resolved() -> None:
        await PublicResolver().resolve("localhost", 80)

    with pytest.raises(SourceError, match="which is not public"):
        asyncio.run(resolved())


def test_a_loop_of_redirects_is_an_error(uri: str, hub: Hub) -> None:
    hub.token, hub.store_url = "", f"{hub.url}/datasets/{NAME}/resolve"
    with pytest.raises(SourceError, match="more than 10 redirects"):
        read(uri)


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ("Expires=1700000000&Signature=x", 1_700_000_000),
        ("X-Amz-Date=20231114T221320Z&X-Amz-Expires=60&X-Amz-Signature=x", 1_700_000_060),
        ("X-Goog-Date=20231114T221320Z&X-Goog-Expires=60", 1_700_000_060),
        ("sig=x&se=2023-11-14T22%3A13%3A20Z", 1_700_000_000),
        ("Expires=soon", 0),
        ("X-Amz-Expires=60", 0),
        ("a=b", float("inf")),
    ],
)
def test_an_address_says_when_it_ends(query: str, ends: float) -> None:
    assert ends_s(URL(f"https://h/a?{query}")) == ends


@pytest.mark.parametrize(
    ("query", "until"),
    [("Expires=2000&Signature=x", 1_990), ("Expires=9000&Signature=x", 4_600), ("a=b", 1_300)],
)
def test_an_address_is_kept_until_shortly_before_it_ends(query: str, until: float) -> None:
    assert kept_until_s(URL(f"https://h/a?{query}"), 1_000) == until


def test_addresses_that_are_kept_are_bounded_in_bytes() -> None:
    kept = KeptAddresses()
    for number in range(5_000):
        kept.put(f"https://h/{number}", Address(URL(f"https://s/{number}?signed={'x' * 900}")))
        assert kept.size_bytes <= web_addresses.KEPT_BYTES
    assert kept.get("https://h/4999") is not None
    assert kept.get("https://h/0") is None
    for number in range(5_000):
        kept.forget(f"https://h/{number}")
    assert kept.size_bytes == 0


def test_threads_may_read_side_by_side(uri: str, hub: Hub) -> None:
    together, found = Barrier(8), list[list[bytes]]()

    def one() -> None:
        together.wait()
        found.append(read(uri))

    threads = [Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [EXPECTED] * 8
    assert len(hub.requests) == 1
