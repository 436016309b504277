"""A real service on loopback over indexed pools whose model is arithmetic."""

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from clip_assets.encoders.encoder import Encoder
from clip_assets.service import app
from clip_assets.service.hosted import HostedIndex, Hosting
from clip_assets.service.offer import Offer
from clip_assets.storage.store import Store
from clip_assets_tests.retrieval.conftest import Captions, WordEncoder, one_thread

__all__ = ["ANIMALS", "one_thread"]

ANIMALS = ["cat", "dog", "cow", "hen", "fox"]


@dataclass(frozen=True)
class Served:
    """A running service.

    Args:
        url: of it.
        hosting: its indices.
        http: a client of it.
    """

    url: str
    hosting: Hosting
    http: httpx.Client


@contextmanager
def serving(hosting: Hosting, offer: Offer | None = None) -> Generator[Served]:
    """Run a service in a thread for the time of the block."""
    config = uvicorn.Config(
        app.build(hosting, offer or Offer()),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=url, timeout=60) as http:
            yield Served(url, hosting, http)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def pool_of_animals(folder: Path, encoder: Callable[[], Encoder] = WordEncoder) -> Captions:
    """An indexed pool of two partitions."""
    made = Captions(Store.open(str(folder)), encoder)
    made.add(0, ANIMALS[:3])
    made.add(1, ANIMALS[3:])
    made.index()
    return made


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service over ``ANIMALS`` that no test changes."""
    made = pool_of_animals(tmp_path_factory.mktemp("animals"))
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        yield served
