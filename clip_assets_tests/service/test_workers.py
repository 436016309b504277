"""Several processes serve as one: a killed one is replaced, and none outlives the service."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from clip_assets.errors import ConfigurationError
from clip_assets.index import versions
from clip_assets.service import serving
from clip_assets.service.measures.shared_measures import added_up, spent_in
from clip_assets_tests.retrieval.conftest import Captions
from clip_assets_tests.service.conftest import pool_of_animals

BODY = json.dumps({"terms": [{"embedding": [1.0] * 24}], "k": 3})


@dataclass
class Service:
    """A running service of two processes, its pool, and the versions of it."""

    process: subprocess.Popen[str]
    url: str
    made: Captions
    names: list[str]

    @property
    def workers(self) -> set[int]:
        """Processes that serve."""
        children = psutil.Process(self.process.pid).children()
        return {one.pid for one in children if psutil.CONN_LISTEN in _connections(one)}

    def ask(self) -> str:
        """The version that answers a search over a new connection."""
        answer = httpx.post(f"{self.url}/v1/search", content=BODY, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["version"]


def _connections(process: psutil.Process) -> list[str]:
    """States of a process's connections; none of one that has ended."""
    try:
        return [one.status for one in process.net_connections("tcp")]
    except psutil.Error:
        return []


@contextmanager
def running(folder: Path) -> Generator[Service]:
    """A service for the time of the block."""
    made = pool_of_animals(folder)
    first = made.index()
    made.add(2, ["ant"])
    names = [first, made.index()]
    program = Path(sys.executable).parent / "clip-assets"
    command = [program, "serve", made.store.base, "--port", "0", "--workers", "2"]
    process = subprocess.Popen(
        [*map(str, command), "--no-access-log"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[2].rstrip(",")
    with process.stdout:
        yield Service(process, url, made, names)
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("workers")) as started:
        yield started


def until(holds: object) -> None:
    """Wait for a state; a test's own time ends one that never comes."""
    while not holds():  # pyright: ignore[reportCallIssue]
        time.sleep(0.05)


@pytest.mark.slow
def test_a_process_that_is_killed_during_a_change_is_replaced(service: Service) -> None:
    before = service.workers
    assert len(before) == 2
    for number, victim in enumerate(sorted(before)):
        versions.use(service.made.store, service.names[number])
        killed = psutil.Process(victim)
        killed.kill()
        # Until then a thread of it may still hold the socket, and be given connections.
        until(lambda: not killed.is_running())  # noqa: B023
        # The other one answers, whatever the killed one was in.
        for _ in range(5):
            assert service.ask() in service.names
        until(lambda: len(service.workers) == 2)
    until(lambda: {service.ask() for _ in range(6)} == {service.names[1]})
    assert not before & service.workers


@pytest.mark.slow
def test_connections_are_shared_out(service: Service) -> None:
    limits = httpx.Limits(max_keepalive_connections=1)
    clients = [httpx.Client(limits=limits) for _ in range(24)]
    for client in clients:
        assert client.get(f"{service.url}/health").status_code == 200
    states = [_connections(psutil.Process(pid)) for pid in service.workers]
    counts = [own.count(psutil.CONN_ESTABLISHED) for own in states]
    for client in clients:
        client.close()
    # One of two gets none of 24 once in eight million times.
    assert sum(counts) >= 24
    assert min(counts) > 0


def test_an_address_that_others_share_is_refused() -> None:
    with serving.reserve("127.0.0.1", 0) as reserved, serving.join(reserved) as own:
        port = own.getsockname()[1]
        with pytest.raises(ConfigurationError, match="Address already in use"):
            serving.reserve("127.0.0.1", port)


def test_an_address_is_had_again_while_ended_connections_linger() -> None:
    # As after a service of one process, whose sockets are not of the shared kind.
    with serving.listen("127.0.0.1", 0) as before:
        address = before.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = before.accept()
            accepted.close()  # the side that ends first keeps the address for a minute
            assert client.recv(1) == b""
    with serving.reserve(*address) as reserved, serving.join(reserved) as own:
        assert own.getsockname() == address
    serving.listen(*address).close()


def test_an_address_gives_each_process_connections_of_its_own() -> None:
    with ExitStack() as stack:
        reserved = stack.enter_context(serving.reserve("127.0.0.1", 0))
        own = [stack.enter_context(serving.join(reserved)) for _ in range(2)]
        address = reserved.getsockname()
        assert [one.getsockname() for one in own] == [address] * 2
        for _ in range(24):
            stack.enter_context(socket.create_connection(address))
        counts = []
        for one in own:
            one.setblocking(False)
            counts.append(0)
            with suppress(BlockingIOError):
                while True:
                    one.accept()[0].close()
                    counts[-1] += 1
    # As above; with one socket for both, whoever asks first gets all.
    assert sum(counts) == 24
    assert min(counts) > 0


@pytest.mark.slow
def test_metrics_are_of_all_processes(service: Service) -> None:
    def counted() -> float:
        text = httpx.get(f"{service.url}/metrics").text
        name = 'clip_assets_request_seconds_count{endpoint="/v1/search",status="200"} '
        return sum(float(line.split()[1]) for line in text.split("\n") if line.startswith(name))

    before = counted()
    for _ in range(12):
        service.ask()
    until(lambda: counted() >= before + 12)
    assert "/knn-service" in httpx.get(f"{service.url}/metrics-summary").text


@pytest.mark.slow
def test_a_thousand_connections_at_once_are_answered_or_asked_to_come_later(
    service: Service,
) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    head = f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(BODY)}\r\n"
    request = f"{head}Connection: close\r\n\r\n{BODY}".encode()
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        answer = await reader.read()
        status = int(answer[9:12])
        assert status == 200 or b"retry-after" in answer.lower()
        statuses[status] += 1
        writer.close()

    async def ask_all() -> None:
        await asyncio.gather(*(ask() for _ in range(1000)))

    asyncio.run(ask_all())
    assert statuses.keys() <= {200, 503}
    assert statuses.total() == 1000
    assert service.ask() in service.names


@pytest.mark.slow
def test_no_process_outlives_the_service(tmp_path: Path) -> None:
    # One of its own, as the others need theirs in any order.
    with running(tmp_path) as service:
        workers = [psutil.Process(pid) for pid in service.workers]
        service.process.kill()
        until(lambda: not any(one.is_running() and one.status() != "zombie" for one in workers))
        assert len(workers) == 2


def test_measures_are_added_up() -> None:
    def told(count: float, born: float, held: float) -> str:
        return (
            "# HELP a_seconds A.\n# TYPE a_seconds histogram\n"
            f'a_seconds_bucket{{le="+Inf"}} {count}\na_seconds_count {count}\n'
            f"a_seconds_sum {count}\n# TYPE a_seconds_created gauge\na_seconds_created {born}\n"
            f"# TYPE held gauge\nheld {held}\n# TYPE b counter\nb_total {count}\n"
        )

    text = added_up([(True, told(1, 5, 2)), (True, told(2, 4, 3)), (False, told(4, 6, 9))]).decode()
    lines = set(text.split("\n"))
    assert {"a_seconds_count 7.0", "b_total 7.0", "held 5.0", "a_seconds_created 4.0"} <= lines
    assert spent_in(text) == {"a_seconds": (7, 7.0)}
