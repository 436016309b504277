"""The endpoints of clip-retrieval's back, so that its client and its front work against ours.

What they ask for is in ``knn_requests``, how they are answered in ``knn_answers``.
"""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from clip_assets.service.clip_retrieval import heads, knn_requests
from clip_assets.service.clip_retrieval.knn_answers import KnnAnswers
from clip_assets.service.measures.measuring import MEDIA_TYPE, Measures
from clip_assets.service.measures.shared_measures import SharedMeasures
from clip_assets.service.measures.took import Took
from clip_assets.service.search.searching import Searching

PATHS = ("/indices-list", "/knn-service", "/metadata")

STRICT = "handling=strict"
"""In the header ``prefer``: what would be ignored is refused (RFC 7240)."""


def routes(searching: Searching, measures: Measures, told: SharedMeasures | Measures) -> APIRouter:
    """The endpoints over what searches.

    Args:
        searching: it.
        measures: count what is done here.
        told: what is told of them: of this process, or of all.
    """
    router = APIRouter(tags=["clip-retrieval"])
    answers = KnnAnswers(searching)

    @router.get("/indices-list", summary="Names of indices")
    async def indices() -> Response:
        return _json([*searching.hosting.indices])

    @router.post("/knn-service", summary="Results of a query")
    async def knn_service(request: Request) -> Response:
        took = Took()
        with took.step("request"):
            body = knn_requests.parsed(await request.body())
            asked = knn_requests.knn(body)
            pool = searching.hosting.get(asked.index).pool
            # As there, what is asked for of a model that is not there changes nothing.
            ignored = ", ".join(heads.ignored(pool, body))
            if ignored and STRICT in request.headers.get("prefer", ""):
                raise knn_requests.wrong(
                    ignored, "no such head in the pool's settings", "heads, or neither"
                )
            results = await answers.knn(asked, took)
        measures.knn(took.steps, body)
        return _json(results, {"x-ignored": ignored} if ignored else {})

    @router.post("/metadata", summary="Metadata of ids")
    async def metadata(request: Request) -> Response:
        body = knn_requests.parsed(await request.body())
        ids = knn_requests.ids_of(body)
        return _json(await answers.metadata(knn_requests.index_name(body), ids))

    @router.get("/config.json", summary="What its front is told")
    async def config(request: Request) -> Response:
        return _json(
            {"defaultBackend": str(request.base_url), "defaultIndex": "", "urlColumn": "url"}
        )

    @router.get("/metrics", summary="For Prometheus")
    async def metrics() -> Response:
        return Response(told.exposed(), media_type=MEDIA_TYPE)

    router.add_api_route("/metrics/", metrics, include_in_schema=False)

    @router.get("/metrics-summary", summary="For people", response_class=PlainTextResponse)
    async def summary() -> PlainTextResponse:
        return PlainTextResponse(told.summary())

    async def options() -> Response:
        return Response()

    for path in PATHS:
        router.add_api_route(path, options, methods=["OPTIONS"], include_in_schema=False)
    return router


def _json(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content) + b"\n", media_type="application/json", headers=headers)
