"""Names through a nameserver of our own, over real datagrams."""

import asyncio
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Generator

import pytest

from clip_assets.download.fetch import resolvers
from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.resolvers import GuardedResolver
from clip_assets.download.image_shards import image_shards
from clip_assets.download.retry import retry_failed
from clip_assets.errors import ConfigurationError
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.fetching import fetch
from clip_assets_tests.download.pairs import P, encode, unique_pairs
from clip_assets_tests.download.web import Web
from clip_assets_tests.upstream import MadeUp

A, NXDOMAIN, SERVFAIL = 1, 3, 2


class Nameserver(socketserver.ThreadingUDPServer):
    """Knows the addresses of some names; of ``broken`` ones it knows nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Question)
        self.addresses: dict[str, list[str]] = {}
        self.broken: set[str] = set()
        self.asked: Counter[str] = Counter()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Question(socketserver.BaseRequestHandler):
    server: Nameserver

    def handle(self) -> None:
        message, sock = self.request
        labels, position = [], 12
        while length := message[position]:
            labels.append(message[position + 1 : position + 1 + length].decode())
            position += 1 + length
        question = message[12 : position + 5]
        (kind,) = struct.unpack(">H", question[-4:-2])
        name = ".".join(labels).lower()
        self.server.asked[name] += kind == A
        known = self.server.addresses.get(name)
        code = SERVFAIL if name in self.server.broken else NXDOMAIN if known is None else 0
        found = [socket.inet_aton(address) for address in known or []] if kind == A else []
        head = message[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        answers = [b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 60, 4) + one for one in found]
        sock.sendto(head + question + b"".join(answers), self.client_address)


@pytest.fixture
def nameserver() -> Generator[Nameserver]:
    with Nameserver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def asking(
    settings: DownloadSettings, nameserver: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> DownloadSettings:
    # The nameserver always answers, if only when this busy machine lets it.
    monkeypatch.setattr(resolvers, "NAMESERVER_TIMEOUT_S", 60.0)
    return settings.model_copy(update={"nameservers": [nameserver.place]})


def test_names_are_asked_of_the_chosen_nameserver_once(
    site: Web, asking: DownloadSettings, nameserver: Nameserver
) -> None:
    nameserver.addresses["images.example.test"] = ["127.0.0.1"]
    urls = [site.serve(f"/{i}", b"x") for i in range(30)]
    urls = [url.replace("127.0.0.1", "images.example.test") for url in urls]
    found = fetch(urls, asking)

    assert [one.body for one in found] == [b"x"] * 30
    assert nameserver.asked["images.example.test"] == 1


def test_what_a_nameserver_says_is_judged_like_any_address(
    site: Web, asking: DownloadSettings, nameserver: Nameserver
) -> None:
    nameserver.addresses |= {
        "metadata.test": ["169.254.169.254"],
        "both.test": ["10.0.0.1", "127.0.0.1"],
    }
    site.serve("/a", b"x")
    urls = [f"http://{name}:{site.port}/a" for name in ("metadata.test", "both.test")]
    metadata, both = fetch(urls, asking)

    assert (metadata.body, metadata.error_class) == (None, "private_address")
    assert both.body == b"x"


def test_no_such_name_and_no_answer_are_told_apart(
    asking: DownloadSettings, nameserver: Nameserver
) -> None:
    nameserver.broken.add("broken.test")
    urls = ["http://none.test/a", "http://none.test/b", "http://broken.test/a"]
    found = fetch(urls, asking.model_copy(update={"retries": 0, "per_host": 1}))

    assert [one.error_class for one in found] == ["dns", "dns", "dns_unanswered"]
    assert nameserver.asked["none.test"] == 1


def test_dead_names_are_no_broken_network_even_when_all_are_tried_again(
    site: Web, local_made: MadeUp, asking: DownloadSettings, nameserver: Nameserver
) -> None:
    nameserver.broken |= {f"broken{i}.test" for i in range(250)}
    urls = [f"http://{name}/a.jpg" for name in sorted(nameserver.broken)]
    urls[::10] = [site.serve(f"/{i}.jpg", encode()) for i in range(25)]
    local_made.set(download=asking.model_dump() | {"samples_per_shard": 1000})
    unique_pairs(local_made, urls)
    found = image_shards(local_made.pool, P).manifest.report
    # No url that is asked now was ever answered, and none is.
    again = retry_failed(local_made.pool, P).manifest.report

    assert found.dropped == again.dropped == {"dns_unanswered": 225}
    assert (again.figures["retried"], again.figures["recovered"]) == (225, 0)
    assert again.figures["attempts"] == 25 + 4 * 225


def test_a_nameserver_that_is_down_is_told(settings: DownloadSettings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    down = settings.model_copy(update={"nameservers": [place], "retries": 0})
    [found] = fetch(["http://images.example.test/a"], down)

    assert found.error_class in ("dns_unanswered", "timeout")


@pytest.mark.parametrize("server", ["", "dns.example.org", "1.1.1.1:port", "300.1.1.1"])
def test_a_nameserver_that_is_no_address_is_refused(server: str) -> None:
    async def make() -> None:
        GuardedResolver(AddressGuard(), [server], 1)

    with pytest.raises(ConfigurationError, match=r"download\.nameservers"):
        asyncio.run(make())
