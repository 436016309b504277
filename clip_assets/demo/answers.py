"""How the demo's web server answers, path by path.

The first part of a path chooses the behaviour (``/missing/7.jpg``, ``/redirect/12.png``), as listed
in ``demo.misbehaviour``. No answer holds more than one image or chunk in memory. The process around
it is ``demo.server``'s.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Middleware

from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import Pair, scene_of

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

SLOW_PAUSE_S = 0.5
CHUNK_BYTES = 64 * 1024
HUGE_BYTES = 8 * 1024**3
JPEG_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
WEB_PAGE = "<!doctype html><title>Not here</title><p>This picture has moved.</p>"


def application(folder: Path) -> web.Application:
    """The web application over ``folder/images``."""
    app = web.Application(middlewares=[_counting(Counter[str]())])
    site = _Site(folder)
    for behaviour, answer in site.answers().items():
        app.router.add_get(f"/{behaviour}", answer)
        app.router.add_get(f"/{behaviour}/{{name:[^/]+}}", answer)
    return app


def _counting(counts: Counter[str]) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Answer) -> web.StreamResponse:
        if request.path == "/requests.json":
            return web.json_response(counts)
        counts[request.path] += 1
        return await handler(request)

    return count


class _Site:
    """The answers of every behaviour; a path without a stored image gets a drawn one."""

    def __init__(self, folder: Path) -> None:
        self._images = folder / "images"
        scene = scene_of(np.random.default_rng(0), Pair("red", "circle"))
        self._default = as_jpeg(draw(scene), quality=90)
        self._refused_once: set[str] = set()

    def answers(self) -> dict[str, Answer]:
        return {
            "images": self._good,
            "missing": _status(404),
            "gone": _status(410),
            "forbidden": _status(403),
            "500": _status(500),
            "429": self._too_many,
            "redirect": self._redirect,
            "redirect-loop": self._redirect_loop,
            "wrong-type": self._called("text/html"),
            "text-type": self._called("text/plain"),
            "html": self._html,
            "noai": self._noai,
            "empty": self._empty,
            "truncated": self._truncated,
            "reset": self._reset,
            "slow": self._slow,
            "huge": self._huge,
        }

    def _file(self, request: web.Request) -> Path | None:
        # The route's pattern has no slash, so a name cannot leave the folder except as "..".
        path = self._images / request.match_info.get("name", "")
        return path if path.is_file() else None

    def _bytes(self, request: web.Request) -> bytes:
        path = self._file(request)
        return path.read_bytes() if path else self._default

    async def _good(self, request: web.Request) -> web.StreamResponse:
        path = self._file(request)
        return web.FileResponse(path) if path else web.Response(status=404)

    async def _too_many(self, request: web.Request) -> web.StreamResponse:
        if request.path in self._refused_once:
            return self._image(request)
        self._refused_once.add(request.path)
        return web.Response(status=429, headers={"Retry-After": "1"})

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        # A path without a stored image would end at 404, so it leads to one that draws.
        name = request.match_info.get("name", "")
        target = f"/images/{name}" if self._file(request) else f"/text-type/{name}"
        raise web.HTTPFound(target)

    async def _redirect_loop(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.path)

    def _called(self, content_type: str) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=self._bytes(request), content_type=content_type)

        return answer

    async def _html(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=WEB_PAGE.encode(), content_type="image/jpeg")

    async def _noai(self, request: web.Request) -> web.StreamResponse:
        return self._image(request, {"X-Robots-Tag": "noai"})

    async def _empty(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"", content_type="image/jpeg")

    async def _truncated(self, request: web.Request) -> web.StreamResponse:
        body = self._bytes(request)
        response = _promise(len(body))
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    async def _reset(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            connection: socket.socket = request.transport.get_extra_info("socket")
            # Lingering for zero seconds makes the kernel send RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.Response()

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        body = self._bytes(request)
        response = _promise(len(body))
        await response.prepare(request)
        with suppress(ConnectionError):
            for value in body:
                await response.write(bytes((value,)))
                await asyncio.sleep(SLOW_PAUSE_S)
        return response

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        response = _promise(HUGE_BYTES)
        await response.prepare(request)
        chunk = bytes(CHUNK_BYTES)
        with suppress(ConnectionError):
            await response.write(JPEG_START)
            for _ in range(HUGE_BYTES // CHUNK_BYTES - 1):
                await response.write(chunk)
        return response

    def _image(
        self, request: web.Request, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        path = self._file(request)
        if path:
            return web.FileResponse(path, headers=headers)
        return web.Response(body=self._default, content_type="image/jpeg", headers=headers)


def _status(status: int) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=f"{status}\n")

    return answer


def _promise(length: int) -> web.StreamResponse:
    return web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(length)})
