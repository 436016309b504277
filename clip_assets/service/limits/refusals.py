"""Every fault as an answer: a status, and where, found, expected and advice.

Which faults there are is said by ``errors``. What nobody foresaw is told without its details,
which go to the log.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from clip_assets.errors import (
    ClipAssetsError,
    ConfigurationError,
    ImageError,
    ModelError,
    SourceError,
    StoreError,
)
from clip_assets.service.limits import wire

logger = logging.getLogger(__name__)

_INNER = {"terms": wire.SearchTerm, "queries": wire.BatchQuery}
# Shapes within requests, by the field that has them.

_LONGEST = 200
# Characters of a value that an answer repeats.

AGAIN_S = 2
"""Seconds after which a client that was turned away may come back."""


class RefusalError(ClipAssetsError):
    """An answer instead of the one that was asked for.

    Args:
        status: of HTTP.
        where: see ``ClipAssetsError``.
        found: likewise.
        expected: likewise.
        advice: likewise.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        where: str,
        found: str,
        expected: str,
        advice: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        ClipAssetsError.__init__(self, where, found, expected, advice)
        self.status = status
        self.headers = dict(headers or {})


def later(where: str, found: str, expected: str, status: int = 503) -> RefusalError:
    """An answer to a request that may work in a moment."""
    again = {"Retry-After": str(AGAIN_S)}
    return RefusalError(status, where, found, expected, f"Try again in {AGAIN_S} s.", again)


def of(error: Exception) -> RefusalError:
    """The answer that a fault becomes."""
    match error:
        case RefusalError():
            return error
        case RequestValidationError() | ValidationError():
            return _of_request(error.errors(), error)
        case ConfigurationError() | ImageError():
            return _told(400, error)
        case ClientDisconnect():
            return RefusalError(400, "the client", "a request that was cut off", "a whole one", "")
        case StoreError() | ModelError() | SourceError():
            return _told(503, error)
        case _:
            logger.error("a request failed", exc_info=error)
            return RefusalError(
                500,
                "the service",
                "a fault that nobody foresaw",
                "an answer",
                "Its log has the details, by the id of the request.",
            )


def body(refusal: RefusalError, request_id: str) -> dict[str, Any]:
    """What an answer says of a fault."""
    return {
        "error": {
            "where": refusal.where,
            "found": refusal.found,
            "expected": refusal.expected,
            "advice": refusal.advice,
            "request_id": request_id,
        }
    }


def _told(status: int, error: ClipAssetsError) -> RefusalError:
    detail = f" ({error.detail})" if isinstance(error, ImageError) and error.detail else ""
    told = f"{error.found}{detail}"[: 4 * _LONGEST]
    return RefusalError(status, error.where, told, error.expected, error.advice)


def _of_request(faults: Sequence[Any], error: Exception) -> RefusalError:
    """The first of the faults of a request's content."""
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        return _of_field(fault["loc"], error)
    where = ".".join(map(str, fault["loc"])) or "the request"
    value = repr(fault.get("input"))
    told = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    # Where, found and expected make a sentence.
    expected = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return RefusalError(422, where, told, expected, "Correct the request; /docs tells it.")


def _of_field(loc: Sequence[str | int], error: Exception) -> RefusalError:
    """A field that there is none of."""
    *above, name = map(str, loc)
    inner = [_INNER[outer] for outer in above if outer in _INNER]
    shape = inner[-1] if inner else getattr(wire, getattr(error, "title", ""), None)
    known = list(shape.model_fields) if shape else []
    near = difflib.get_close_matches(name.lower(), known, 1)
    return RefusalError(
        422,
        ".".join([*above, name]),
        "a field that there is none of",
        f"one of {', '.join(known)}" if known else "no such field",
        f"Perhaps {near[0]}." if near else "Correct the request; /docs tells it.",
    )
