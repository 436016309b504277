"""The token that a service may ask for: in the header of programs, in a browser's cookie.

A page sends the token once; pictures cannot bear a header, so what a browser keeps is a cookie. It
holds no token, only proof of it, which every process of the service can check.
"""

import hashlib
import hmac

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from clip_assets.service.limits.refusals import RefusalError

COOKIE = "clip_assets"

PATH = "/v1/session"


def check(token: str, headers: Headers) -> None:
    """Refuse who does not bear it; how much of it is right cannot be told by the time it takes.

    Raises:
        RefusalError: 401.
    """
    bearer = headers.get("authorization", "")
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    is_right = hmac.compare_digest(f"Bearer {token}".encode(), bearer.encode())
    if is_right or hmac.compare_digest(_proof(token).encode(), cookie.encode()):
        return
    raise RefusalError(
        401,
        "the header Authorization",
        "no token, or another one",
        "Bearer and the service's token",
        "Ask who runs the service.",
        {"WWW-Authenticate": "Bearer"},
    )


def routes(token: str | None) -> APIRouter:
    """Where a page signs in and out; that the token is right was checked before."""
    router = APIRouter(tags=["states"])

    @router.post(PATH, status_code=204, summary="Sign a browser in, by the token of the request")
    async def sign_in(request: Request) -> Response:
        answer = Response(status_code=204)
        if token is not None:
            answer.set_cookie(
                COOKIE,
                _proof(token),
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return answer

    @router.delete(PATH, status_code=204, summary="Sign a browser out")
    async def sign_out() -> Response:
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router


def _proof(token: str) -> str:
    return hmac.new(token.encode(), b"clip_assets session", hashlib.sha256).hexdigest()
