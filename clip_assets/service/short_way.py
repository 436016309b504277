"""The short way to the endpoints that are asked most, past what a framework does for any endpoint.

Finding a route, collecting an endpoint's arguments and the layers around it cost more than many an
embedding's search. Endpoints that take the request and nothing else need none of it. They are
routes of the framework all the same, which documents them and answers other methods.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Faults = Callable[[Request, Exception], Awaitable[Response]]


class ShortWay:
    """Calls such endpoints itself, and leaves other requests to the application.

    Args:
        app: what is left.
        routers: whose endpoints are looked at.
        faults: an endpoint's fault as an answer.
    """

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], faults: Faults) -> None:
        self._app, self._faults = app, faults
        self._routes = {
            (method, route.path): route
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and _takes_the_request_alone(route)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        is_http = scope["type"] == "http"
        route = self._routes.get((scope["method"], scope["path"])) if is_http else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # as a router would
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await self._faults(request, error)
        await response(scope, receive, send)


def _takes_the_request_alone(route: APIRoute) -> bool:
    parameters = list(inspect.signature(route.endpoint).parameters.values())
    return [one.annotation for one in parameters] == [Request] and "{" not in route.path
