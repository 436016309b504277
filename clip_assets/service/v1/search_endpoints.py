"""Endpoints of ``/v1`` that search: typed requests, and answers that say what was found and why.

What is done for them is in ``search.searching``; those of ``file_endpoints`` answer with bytes.
"""

from fastapi import APIRouter, Request

from clip_assets.service.hosting import described
from clip_assets.service.limits.wire import BatchRequest, SearchRequest
from clip_assets.service.measures.measuring import Measures
from clip_assets.service.search import many_queries
from clip_assets.service.search.searching import Searching
from clip_assets.service.v1.json_and_forms import IndexName, JsonAnswer, Shape, asked_for, takes


def routes(searching: Searching, measures: Measures) -> APIRouter:
    """The endpoints over what searches."""
    router = APIRouter(prefix="/v1", tags=["search"], default_response_class=JsonAnswer)

    @router.get("/indices", summary="What is hosted", response_model=Shape)
    def indices() -> JsonAnswer:
        told = described.indices(searching.hosting, searching.offer, searching.visible)
        return JsonAnswer({"indices": told})

    @router.post(
        "/search",
        summary="What is like a text, an image or a mix",
        response_model=Shape,
        openapi_extra=takes(SearchRequest),
    )
    async def search(request: Request) -> JsonAnswer:
        asked, uploads = await asked_for(SearchRequest, request)
        answer = await searching.search(asked, uploads)
        measures.steps(answer["took_ms"])
        return JsonAnswer(answer | {"request_id": request.state.request_id})

    @router.post(
        "/search/batch",
        summary="What is like each of many",
        response_model=Shape,
        openapi_extra=takes(BatchRequest, images=False),
    )
    async def batch(request: Request) -> JsonAnswer:
        asked = BatchRequest.model_validate_json(await request.body())
        answer = await many_queries.answered(searching, asked)
        measures.steps(answer["took_ms"])
        return JsonAnswer(answer | {"request_id": request.state.request_id})

    @router.get("/items/{uid}", summary="What one pair is", response_model=Shape)
    async def item(uid: str, index: IndexName = None) -> JsonAnswer:
        return JsonAnswer(await searching.item(index, uid))

    return router
