"""What every request passes first: an id, bounds, a token, and headers that keep browsers safe.

Which bounds there are is said by ``offer``. What was answered is counted and logged here,
one JSON object a line, without anything that a query holds.
"""

import asyncio
import random
import re
import time
from collections.abc import MutableMapping
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clip_assets.service.limits import refusals, sign_in
from clip_assets.service.limits.offer import MIB, Offer
from clip_assets.service.limits.rates import Rates
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.measures.access import AccessLog
from clip_assets.service.measures.measuring import Measures

_OWN_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)

_SLASHES = re.compile("//+")

OPEN_PATHS = ("/health", "/ready")
"""Answered without a token and at any rate: what runs the service asks them."""

PAGE, PAGE_FILES = "/", "/page/"
"""Answered without a token, which it is the page's business to ask for."""

POLICY = (
    "default-src 'self'; img-src 'self' data: blob: http: https:; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""What a page of ours may load: its own files, and pictures from where they are."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """The outermost part of the service.

    Args:
        app: what is guarded.
        offer: the bounds.
        measures: counts answers.
        access: hears of answers.
    """

    def __init__(self, app: ASGIApp, offer: Offer, measures: Measures, access: AccessLog) -> None:
        self._app, self._offer, self._measures = app, offer, measures
        self._access = access
        self._rates = Rates(offer.per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        # clip-retrieval's front asks for //knn-service.
        if "//" in scope["path"]:
            scope["path"] = _SLASHES.sub("/", scope["path"])
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        try:
            self._check(scope, headers)
            await self._app(scope, _BoundedBody(receive, self._offer.body_bytes), answer)
        except RefusalError as refusal:
            if answer.has_begun:
                raise
            await answer.refuse(refusal)
        except asyncio.CancelledError:
            # The grace of a service that ends is over: the client is cut off in any case, and the
            # server would tell a traceback for each.
            answer.status = answer.status if answer.has_begun else 503
        finally:
            self._record(scope, answer, request_id, time.perf_counter() - start)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._offer.hosts and name.strip("[]").lower() not in self._offer.hosts:
            raise RefusalError(
                421,
                "the header Host",
                repr(host[:100]),
                f"one of {', '.join(sorted(self._offer.hosts))}",
                "Start the service with --allow-host and this name.",
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._offer.body_bytes:
            raise _too_large(self._offer.body_bytes)
        path = scope["path"]
        if path in OPEN_PATHS or scope["method"] == "OPTIONS":
            return
        if self._offer.token is not None and path != PAGE and not path.startswith(PAGE_FILES):
            sign_in.check(self._offer.token, headers)
        wait_s = self._rates.wait_s((scope.get("client") or ("",))[0])
        if wait_s:
            raise RefusalError(
                429,
                "the client",
                "too many requests",
                f"{self._offer.per_second:g} a second",
                f"Try again in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )

    def _record(self, scope: Scope, answer: "_Answer", request_id: str, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", None) or "none"
        self._measures.request(endpoint, answer.status, seconds)
        told: dict[str, Any] = {
            "request_id": request_id,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "endpoint": endpoint,
            "status": answer.status,
            "ms": round(1000 * seconds, 1),
            "bytes": answer.sent_bytes,
        }
        self._access.add(told)


class _BoundedBody:
    """What a request sends, up to a bound."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive, self._most_bytes = receive, most_bytes
        self._got_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._got_bytes += len(message.get("body", b""))
        if self._got_bytes > self._most_bytes:
            raise _too_large(self._most_bytes)
        return message


class _Answer:
    """What is sent back, with the headers of every answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.has_begun = False
        self.status = 499  # what logs have where the client went away first
        self.sent_bytes = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.status = message["status"]
            own = [one for one in message.get("headers", ()) if one[0] != b"x-request-id"]
            names = {name for name, _ in own}
            own.append((b"x-request-id", self._request_id.encode()))
            message["headers"] = own + [one for one in _HEADERS if one[0] not in names]
        self.sent_bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, refusal: RefusalError) -> None:
        """Answer a fault that was found before the endpoint."""
        body = orjson.dumps(refusals.body(refusal, self._request_id))
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        headers |= refusal.headers
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _request_id(headers: Headers) -> str:
    """The id that the client or a proxy gave, if it is one that logs may have, else a new one."""
    given = headers.get("x-request-id", "")
    # Names an answer, and opens nothing: it need not be unguessable.
    return given if _OWN_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def _too_large(most_bytes: int) -> RefusalError:
    return RefusalError(
        413,
        "the request",
        "a body that is too large",
        f"at most {most_bytes // MIB} MiB",
        "Send smaller images, or start the service with a larger --max-body.",
    )
