"""A small web that misbehaves, on loopback addresses only."""

import asyncio
import hashlib
import io
import ipaddress
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

from clip_assets import layout, schemas
from clip_assets.download.fetch.fetcher import Fetched, open_fetcher
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Stage, materialize
from clip_assets.settings import Download
from clip_assets.storage import tables
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
P = PartitionKey("00000")

OTHER_ADDRESSES = [f"127.0.1.{i + 1}" for i in range(30)]
"""Loopback addresses that test servers have besides 127.0.0.1: other hosts to a fetcher."""


def encode(
    form: str = "JPEG", size: tuple[int, int] = (320, 240), mode: str = "RGB", **options: Any
) -> bytes:
    """A smooth coloured image; other sizes and formats give other bytes."""
    width, height = size
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)) % 256
    pixels = np.stack([ramp, 255 - ramp, np.full_like(ramp, (7 * width) % 256)], axis=-1)
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(content, form, **options)
    return content.getvalue()


@dataclass
class Web:
    """A web server of tests: what it answers by path, and what it was asked."""

    port: int = 0
    scheme: str = "http"
    pages: dict[str, Handler] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    raw_paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def serve(
        self, path: str, body: bytes = b"", status: int = 200, delay_s: float = 0.0, **headers: str
    ) -> str:
        """Answer a path with fixed content; returns its url."""

        async def handler(_: web.Request) -> web.Response:
            await asyncio.sleep(delay_s)
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=body, status=status, headers=names)

        self.pages[path] = handler
        return self.url(path)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.raw_paths.append(request.raw_path)
        self.headers.append(dict(request.headers))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            handler = self.pages.get(request.path)
            return await handler(request) if handler else web.Response(status=404)
        finally:
            self.at_once -= 1


def run_in_thread(
    start: Callable[[], Awaitable[Callable[[], Awaitable[None]]]],
) -> Callable[[], None]:
    """Run servers on an event loop of their own; the result stops them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stop = asyncio.run_coroutine_threadsafe(start(), loop).result(60)  # type: ignore[arg-type]

    async def end() -> None:
        await stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def finish() -> None:
        asyncio.run_coroutine_threadsafe(end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()

    return finish


@pytest.fixture
def site() -> Generator[Web]:
    """A web server on every loopback address."""
    found = Web()

    stop = run_in_thread(lambda: _start(found, None))
    yield found
    stop()


async def _start(found: Web, context: ssl.SSLContext | None) -> Callable[[], Awaitable[None]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.port = runner.addresses[0][1]
    for address in OTHER_ADDRESSES:
        await web.TCPSite(runner, address, found.port, ssl_context=context).start()
    return runner.cleanup


@pytest.fixture
def image() -> Callable[..., bytes]:
    return encode


@pytest.fixture
def settings() -> Download:
    """Loopback is allowed; limits are for a busy machine."""
    return Download(
        allow_hosts=["127.0.0.0/8"],
        samples_per_shard=10,
        concurrency=16,
        connect_timeout_s=30,
        read_timeout_s=30,
        deadline_s=60,
    )


@pytest.fixture
def hasty(settings: Download) -> Download:
    """Every limit is reached soon, and nothing is tried again."""
    return settings.model_copy(
        update={"connect_timeout_s": 1, "read_timeout_s": 1, "deadline_s": 2, "retries": 0}
    )


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    root = str(tmp_path) if request.param == "local" else f"memory://{tmp_path}"
    return Store.open(root)


@pytest.fixture
def pool() -> Callable[..., Catalog]:
    """Writes ``unique_pairs`` of a partition as its stage does."""

    def make(store: Store, urls: list[str], key: str = P, **columns: list[Any]) -> Catalog:
        captions = columns.pop("caption", [f"caption {i}" for i in range(len(urls))])
        uids = [
            hashlib.md5(f"{u}\x1f{c}".encode()).hexdigest()
            for u, c in zip(urls, captions, strict=True)
        ]
        given = {"uid": uids, "url": urls, "caption": captions} | columns
        table = pa.table(
            {f.name: pa.array(given.get(f.name, [None] * len(urls)), f.type) for f in schemas.PAIRS}
        )
        partition = PartitionKey(key)

        def work(run: Any) -> Report:
            with run.publish(layout.unique(partition)) as part:
                tables.write(part, table, schemas.PAIRS)
            return Report(rows_in=len(urls), rows_out=len(urls))

        catalog = Catalog(store)
        materialize(
            catalog,
            Stage("unique_pairs", "1"),
            partition,
            {"urls": str(sorted(given.items()))},
            work,
        )
        return catalog

    return make


RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawWeb:
    """A server that speaks bytes: what it does by path."""

    port: int = 0
    pages: dict[str, RawHandler] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def script(self, path: str, *steps: bytes | float, endless: bool = False) -> str:
        """Write the bytes and wait the seconds given, again and again if endless."""

        async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                for step in steps:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(step)
                if not endless:
                    return

        self.pages[path] = handler
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.requests[path] += 1
            await self.pages[path](reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
def raw() -> Generator[RawWeb]:
    """A server whose answers are bytes."""
    found = RawWeb()

    async def start() -> Callable[[], Awaitable[None]]:
        server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]

        async def stop() -> None:
            server.close()

        return stop

    stop = run_in_thread(start)
    yield found
    stop()


@dataclass
class Authority:
    """A certificate authority of tests."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        path = self.folder / "ca.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def context(self, *, days: int = 10, signed_by_self: bool = False) -> ssl.SSLContext:
        """A server's TLS context for localhost and 127.0.0.1, expired when days < 0."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_key = key if signed_by_self else self.key
        certificate = _certificate(
            "localhost", key, issuer_key, "localhost" if signed_by_self else "ca", days
        )
        chain = self.folder / f"chain{days}{signed_by_self}.pem"
        chain.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: str,
    days: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    is_authority = name == "ca"
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=20))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if not is_authority:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(tmp_path, key, _certificate("ca", key, key, "ca", 10))


@pytest.fixture
def tls_site() -> Generator[Callable[[ssl.SSLContext], Web]]:
    """Starts web servers on https."""
    stops: list[Callable[[], None]] = []

    def serve(context: ssl.SSLContext) -> Web:
        found = Web(scheme="https")
        stops.append(run_in_thread(lambda: _start(found, context)))
        return found

    yield serve
    for stop in stops:
        stop()


@pytest.fixture
def fetch() -> Callable[..., list[Fetched]]:
    """Fetches urls; results in the order of the urls, each worked on for ``work_s``."""

    async def run(urls: list[str], settings: Download, work_s: float) -> list[Fetched]:
        results: dict[int, Fetched] = {}
        async with open_fetcher(settings) as fetcher:
            for number, url in enumerate(urls):
                fetcher.submit(number, url)

            async def work() -> None:
                while len(results) < len(urls):
                    number, fetched = await fetcher.next()
                    results[number] = fetched
                    await asyncio.sleep(work_s)
                    fetcher.release(fetched)

            workers = [asyncio.ensure_future(work()) for _ in range(settings.concurrency)]
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [results[number] for number in range(len(urls))]

    return lambda urls, settings, work_s=0.0: asyncio.run(run(urls, settings, work_s))
