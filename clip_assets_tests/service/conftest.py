"""A real service on loopback over indexed pools whose model is arithmetic."""

import io
import socket
import tarfile
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import uvicorn

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.layout import Key
from clip_assets.service import app
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets.service.serving import configured
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets_tests import models
from clip_assets_tests.retrieval.conftest import Captions, WordEncoder, one_thread

__all__ = ["ANIMALS", "one_thread"]

YEAR = datetime(2014, 1, 1)

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
def serving(
    hosting: Hosting, offer: Offer | None = None, system_bytes: int | None = None
) -> Generator[Served]:
    """Run a service in a thread for the time of the block.

    Args:
        hosting: its indices.
        offer: what is offered of them.
        system_bytes: of an answer, that the system keeps for a client; None: as many as it likes.
    """
    config = configured(app.build(hosting, offer or Offer()))
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    if system_bytes is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, system_bytes)
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


def uid_of(caption: str) -> str:
    """The uid of a pair in pools of captions."""
    return f"{zlib.crc32(caption.encode()):032x}"


def pool_of_animals(folder: Path, encoder: Callable[[], Encoder] = WordEncoder) -> Captions:
    """An indexed pool of two partitions, with its metadata; the first one has images."""
    made = Captions(Store.open(str(folder)), encoder)
    for number, captions in enumerate((ANIMALS[:3], ANIMALS[3:])):
        describe(made, made.add(number, captions), captions)
    with (
        made.store.publish(layout.shard_tar(Key("00000"), 0)) as part,
        tarfile.open(part, "w") as tar,
    ):
        for number in range(3):
            content = models.encoded(models.draw(number, (200, 100)), "JPEG")
            info = tarfile.TarInfo(f"{number:08d}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    made.index()
    return made


def describe(made: Captions, key: Key, captions: Sequence[str]) -> None:
    """The pool's metadata of a partition, in another order than its vectors."""
    rows = [
        {
            "uid": uid_of(caption),
            "url": f"http://{caption}.example/{place}",
            "text": caption,
            "original_width": 100 * (place + 1),
            "status": "success",
            "language": "en" if place else "de",
            "similarity": 0.75,
            "shard": f"{key}/00000",
            "taken_at": YEAR + timedelta(days=place) if place else None,
        }
        for place, caption in enumerate(captions)
    ]
    table = pa.Table.from_pylist(rows[::-1], schemas.POOL_ROWS)
    files = {layout.pool_rows(key): partial(tables.write, table=table)}
    made.make(layout.POOL_METADATA, key, len(rows), files)


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service over ``ANIMALS`` that no test changes."""
    made = pool_of_animals(tmp_path_factory.mktemp("animals"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
            yield served


def search(served: Served, *terms: dict[str, Any], **further: Any) -> dict[str, Any]:
    """What a search that is right is answered."""
    answer = served.http.post("/v1/search", json={"terms": terms} | further)
    assert answer.status_code == 200, answer.text
    return answer.json()


def captions(answer: dict[str, Any]) -> list[str]:
    """Of the results."""
    return [one["caption"] for one in answer["results"]]


def error(answer: httpx.Response, status: int) -> dict[str, str]:
    """What an answer says of a fault."""
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told.keys() == {"where", "found", "expected", "advice", "request_id"}
    return told


class RealImages(WordEncoder):
    """Decodes images as a real model does; their vectors stay arithmetic."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._real = encoder

    def preprocess(self, content: bytes) -> Any:
        return self._real.preprocess(content)
