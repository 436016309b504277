"""A small web that misbehaves, on loopback addresses only."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Stop = Callable[[], Awaitable[None]]

OTHER_ADDRESSES = [f"127.0.1.{i + 1}" for i in range(30)]
"""Loopback addresses that test servers have besides 127.0.0.1: other hosts to a fetcher."""


@dataclass
class Web:
    """A web server of tests: what it answers by path, and what it was asked."""

    port: int = 0
    scheme: str = "http"
    pages: dict[str, Handler] = field(default_factory=dict[str, Handler])
    requests: Counter[str] = field(default_factory=Counter[str])
    raw_paths: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
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


@dataclass
class RawWeb:
    """A server that speaks bytes: what it does by path."""

    port: int = 0
    pages: dict[str, RawHandler] = field(default_factory=dict[str, RawHandler])
    requests: Counter[str] = field(default_factory=Counter[str])

    def script(self, path: str, *steps: bytes | float) -> str:
        """Write the bytes and wait the seconds given."""

        async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for step in steps:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await asyncio.sleep(step)

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


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Generator[Web]:
    """A web server on every loopback address, on https if there is a TLS context."""
    found = Web(scheme="https" if context else "http")

    async def start() -> Stop:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", found.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        found.port = runner.addresses[0][1]
        for address in OTHER_ADDRESSES:
            await web.TCPSite(runner, address, found.port, ssl_context=context).start()
        return runner.cleanup

    with _on_a_thread(start):
        yield found


@contextmanager
def serving_bytes() -> Generator[RawWeb]:
    """A server whose answers are bytes."""
    found = RawWeb()

    async def start() -> Stop:
        server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]

        async def stop() -> None:
            server.close()

        return stop

    with _on_a_thread(start):
        yield found


@contextmanager
def _on_a_thread(start: Callable[[], Awaitable[Stop]]) -> Generator[None]:
    """Run servers on an event loop of their own for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> Stop:
        return await start()

    stop = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)

    async def end() -> None:
        await stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
