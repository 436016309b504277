"""The service as one ASGI application: endpoints, the page's files, faults as answers.

It is run by ``service.serving``; what searches is in ``search.searching``.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from clip_assets.errors import ClipAssetsError
from clip_assets.service import api_page
from clip_assets.service.clip_retrieval import knn_endpoints
from clip_assets.service.hosting import described
from clip_assets.service.hosting.hosted import Hosting
from clip_assets.service.limits import refusals, sign_in
from clip_assets.service.limits.guard import Guard
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.wire import (
    BatchRequest,
    EmbeddingsRequest,
    SearchRequest,
    SubsetRequest,
)
from clip_assets.service.measures.access import AccessLog
from clip_assets.service.measures.measuring import Measures, Reading
from clip_assets.service.measures.shared_measures import SharedMeasures
from clip_assets.service.search.searching import Searching
from clip_assets.service.short_way import ShortWay
from clip_assets.service.v1 import file_endpoints, search_endpoints
from clip_assets.service.v1.json_and_forms import JsonAnswer

PAGE = Path(__file__).parent / "page"

LOOPBACK_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages of this machine may ask from other ports, as clip-retrieval's front does."""

FAULTS = (
    ClipAssetsError,
    ValidationError,
    RequestValidationError,
    HTTPException,
    ClientDisconnect,
    Exception,
)
"""What becomes an answer; without a class's own name its traceback goes to the log, too."""


def build(hosting: Hosting, offer: Offer, folder: Path | None = None) -> FastAPI:
    """The application over some indices.

    Args:
        hosting: them.
        offer: what is offered of them.
        folder: that the processes of one service share; None: there is one process.
    """
    searching = Searching(hosting, offer)
    measures = Measures(readings(searching))
    shared = None if folder is None else SharedMeasures(measures, folder)
    access = AccessLog()
    routers = [
        search_endpoints.routes(searching, measures),
        file_endpoints.routes(searching),
        knn_endpoints.routes(searching, measures, shared or measures),
        sign_in.routes(offer.token),
    ]

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncGenerator[None]:
        del app
        hosting.start()
        if shared is not None:
            shared.start()
        yield
        searching.close()
        hosting.close()
        access.flush()
        if shared is not None:
            shared.close()

    app = FastAPI(
        title="clip-assets",
        version=version("clip-assets"),
        summary="Search of CLIP datasets by text, image, embedding and pair.",
        lifespan=running,
        # Theirs are scripts of other servers, which the policy of pages keeps from running.
        docs_url=None,
        redoc_url=None,
    )
    # The last one is the outermost.
    app.add_middleware(ShortWay, routers=routers, faults=_answered)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=offer.origins,
        allow_origin_regex=LOOPBACK_ORIGINS,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "content-disposition"],
    )
    app.add_middleware(Guard, offer=offer, measures=measures, access=access)
    for fault in FAULTS:
        app.add_exception_handler(fault, _answered)
    for router in routers:
        app.include_router(router)
    _add_states(app, hosting)
    _add_page(app)
    _describe(app)
    return app


def readings(searching: Searching) -> list[Reading]:
    """Numbers that are read when they are asked for."""
    encoding, turns = searching.encoding, searching.turns
    return [
        Reading("clip_assets_working", "Requests in turns", lambda: turns.taken),
        Reading("clip_assets_waiting", "Queries that wait to be encoded", lambda: encoding.waiting),
        Reading("clip_assets_batches", "Batches encoded", lambda: encoding.batches, grows=True),
        Reading("clip_assets_encoded", "Queries encoded", lambda: encoding.encoded, grows=True),
        Reading("clip_assets_known", "Queries known", lambda: encoding.remembered, grows=True),
    ]


def _add_states(app: FastAPI, hosting: Hosting) -> None:
    @app.get("/health", tags=["states"], summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok", "release": app.version}

    @app.get("/ready", tags=["states"], summary="Whether searches are answered, and by what")
    async def ready() -> JsonAnswer:
        return JsonAnswer(described.readiness(hosting))


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    def reference() -> HTMLResponse:
        return HTMLResponse(api_page.page(app.openapi()))

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _describe(app: FastAPI) -> None:
    """Let OpenAPI know the shapes of bodies that endpoints read themselves."""
    generated = app.openapi

    def described() -> dict[str, Any]:
        document = generated()
        shapes = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (SearchRequest, SubsetRequest, BatchRequest, EmbeddingsRequest):
            shape = model.model_json_schema(ref_template="#/components/schemas/{model}")
            shapes |= shape.pop("$defs", {})
            shapes[model.__name__] = shape
        return document

    app.openapi = described


async def _answered(request: Request, error: Exception) -> JsonAnswer:
    """A fault as an answer."""
    if isinstance(error, HTTPException):
        path = request.url.path[:200]
        allowed = Headers(error.headers or {}).get("allow")
        error = RefusalError(
            error.status_code,
            f"{request.method} {path}",
            str(error.detail),
            f"the method {allowed}" if allowed else "an endpoint that is",
            "See /docs for all of them.",
            error.headers,
        )
    refusal = refusals.of(error)
    content = refusals.body(refusal, request.state.request_id)
    if request.url.path in knn_endpoints.PATHS:
        # As clip-retrieval's client reads it.
        content["message"] = str(refusal)
    return JsonAnswer(content, refusal.status, refusal.headers)
