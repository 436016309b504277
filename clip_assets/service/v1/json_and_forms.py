"""How endpoints of ``/v1`` are asked and answer: JSON, or a form with images.

What requests hold is said by ``limits.wire``.
"""

from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.wire import MOST_TERMS

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
