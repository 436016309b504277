"""Endpoints of ``/v1``: typed requests, and answers that say what was found and why.

What is done for them is in ``searching``; the endpoints of clip-retrieval are another module.
"""

from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from clip_assets.service import described, many_queries
from clip_assets.service.measuring import Measures
from clip_assets.service.refusals import RefusalError
from clip_assets.service.searching import Searching
from clip_assets.service.wire import MOST_TERMS, BatchRequest, SearchRequest

IndexName = Annotated[str | None, Query(max_length=200, description="none: the first one")]

Asked = TypeVar("Asked", bound=BaseModel)

FORM = "multipart/form-data"

Shape = dict[str, Any]
"""What OpenAPI says of answers: an object."""


class JsonAnswer(JSONResponse):
    """An answer in JSON; a number that is not finite is null."""

    def render(self, content: Any) -> bytes:
        """As orjson writes it."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def takes(model: type[BaseModel], *, images: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a body that is JSON, or a form with images if there may be some."""
    form = {
        "type": "object",
        "required": ["request"],
        "properties": {"request": {"type": "string", "description": "the json"}},
        "additionalProperties": {"type": "string", "format": "binary"},
    }
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content: Shape = {"application/json": {"schema": reference}}
    if images:
        content[FORM] = {"schema": form}
    return {"requestBody": {"required": True, "content": content}}


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


async def asked_for(model: type[Asked], request: Request) -> tuple[Asked, dict[str, bytes]]:
    """What is asked for, and the images of a form by field.

    Raises:
        ValidationError: it cannot be.
        RefusalError: the form has no json.
    """
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        return model.model_validate_json(await request.body()), {}
    async with request.form(max_files=MOST_TERMS, max_fields=1) as form:
        text = form.get("request")
        if not isinstance(text, str):
            raise RefusalError(
                422, FORM, "no field request", "the json of the search", "Correct the request."
            )
        files = {name: file for name, file in form.items() if isinstance(file, UploadFile)}
        uploads = {name: await file.read() for name, file in files.items()}
    return model.model_validate_json(text), uploads
