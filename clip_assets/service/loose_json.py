"""Bodies for clip-retrieval's endpoints: JSON, whatever type they are said to have.

What is asked for in them is read by ``service.knn``.
"""

import json
from typing import Any

import orjson

from clip_assets.service.refusals import RefusalError


def parsed(content: bytes) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        RefusalError: it is none.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = _loosely(content)
    if not isinstance(body, dict):
        raise _wrong(f"a {type(body).__name__}", "an object")
    return body


def _loosely(content: bytes) -> Any:
    """As Python reads it: with NaN, lone surrogates and numbers of any length."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _wrong("no JSON", f"an object of JSON ({error})") from error


def _wrong(found: str, expected: str) -> RefusalError:
    return RefusalError(400, "the body", found, expected, "Correct the request.")
